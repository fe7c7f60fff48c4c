"""How well a model does on a table of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sparse.mlp import MLPSpec, predict


@dataclass(frozen=True)
class Score:
    """Accuracy (a fraction) and mean cross-entropy (nats), with the number of examples."""

    accuracy: float
    loss: float
    num_examples: int


def evaluate_table(
    parameters: Mapping[str, NDArray[np.float32]],
    spec: MLPSpec,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    batch_size: int = 4096,
) -> Score:
    """Score the whole, unscaled model on features float32 (n, F) and labels int64 (n,)."""
    correct, loss = 0, 0.0
    for start in range(0, len(labels), batch_size):
        expected = labels[start : start + batch_size]
        logits = np.asarray(predict(parameters, spec, features[start : start + batch_size]), dtype=np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        loss += float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(expected)), expected]).sum())
        correct += int((logits.argmax(axis=1) == expected).sum())
    return Score(correct / len(labels), loss / len(labels), len(labels))


def mean_score(scores: Sequence[Score]) -> Score:
    """Return the plain mean of several models' scores on the same examples."""
    accuracy, loss = (sum(values) / len(scores) for values in zip(*((s.accuracy, s.loss) for s in scores), strict=True))
    return Score(accuracy, loss, scores[0].num_examples)
