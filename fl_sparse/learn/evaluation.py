"""A model's accuracy and loss on a table of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.array_ops import ops_of
from fl_sparse.learn.mlp_stack.predict import predict
from fl_sparse.model.mlp import MLPSpec


@dataclass(frozen=True)
class Score:
    """Accuracy (a fraction) and mean cross-entropy (nats), with the number of examples.

    ``examples_by_class`` is int64 (C,), ``correct_by_class`` int64 (A, C): a row for each model. A is 1, except in the
    mean over several models.
    """

    accuracy: float
    loss: float
    num_examples: int
    examples_by_class: NDArray[np.int64] = field(repr=False, compare=False)
    correct_by_class: NDArray[np.int64] = field(repr=False, compare=False)


def evaluate_table(
    parameters: Mapping[str, NDArray[np.float32]],
    spec: MLPSpec,
    features: Any,
    labels: NDArray[np.int64],
    *,
    batch_size: int = 4096,
) -> Score:
    """Return the score of the whole, unscaled model on features float32 (n, F), NumPy or torch, with labels (n,)."""
    outputs = ops_of(features).to_host(predict(parameters, spec, features))
    correct, loss = np.zeros(spec.num_classes, dtype=np.int64), 0.0
    for start in range(0, len(labels), batch_size):
        expected = labels[start : start + batch_size]
        logits = outputs[start : start + batch_size].astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        loss += float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(expected)), expected]).sum())
        correct += np.bincount(expected[logits.argmax(axis=1) == expected], minlength=spec.num_classes)
    examples = np.bincount(labels, minlength=spec.num_classes)
    return Score(int(correct.sum()) / len(labels), loss / len(labels), len(labels), examples, correct[None])


def mean_score(scores: Sequence[Score]) -> Score:
    """Return the plain mean of several models' scores on the same examples."""
    accuracy, loss = (sum(values) / len(scores) for values in zip(*((s.accuracy, s.loss) for s in scores), strict=True))
    correct = np.concatenate([score.correct_by_class for score in scores])
    return Score(accuracy, loss, scores[0].num_examples, scores[0].examples_by_class, correct)
