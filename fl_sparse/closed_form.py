"""One-shot classifiers from sums over clients: ridge regression and nearest class mean. Features x (F), one-hot y (C).

Gram matrices add up, so the result does not depend on how the images are split over clients.

References
----------
E. Fanì et al., Accelerating Heterogeneous Federated Learning with Closed-form Classifiers (Fed3R), ICML 2024, §3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Gram:
    """Sums over n examples, with a constant 1 as the last feature: X'X (F+1, F+1) and X'Y (F+1, C), float64."""

    features: NDArray[np.float64] = field(repr=False)
    labels: NDArray[np.float64] = field(repr=False)


def gram_of(features: NDArray[np.float32], labels: NDArray[np.int64], num_classes: int) -> Gram:
    """Return a client's sums of features (n, F) and labels (n,)."""
    width = features.shape[1] + 1
    total = Gram(np.zeros((width, width)), np.zeros((width, num_classes)))
    for start in range(0, len(labels), 4096):
        rows = features[start : start + 4096].astype(np.float64)
        rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
        targets = np.eye(num_classes)[labels[start : start + 4096]]
        total = Gram(total.features + rows.T @ rows, total.labels + rows.T @ targets)
    return total


def add(grams: Sequence[Gram]) -> Gram:
    """Return the sums over all clients."""
    return Gram(
        np.sum([gram.features for gram in grams], axis=0),
        np.sum([gram.labels for gram in grams], axis=0),
    )


def ridge(gram: Gram, penalty: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weight (C, F) and bias (C,) of min ‖XW' + b − Y‖² + penalty·‖W‖²; the bias is not penalised."""
    width = len(gram.features)
    diagonal = np.full(width, float(penalty))
    diagonal[-1] = 0.0
    solution = np.linalg.solve(gram.features + np.diag(diagonal), gram.labels).astype(np.float64)
    return solution[:-1].T, solution[-1]


def class_means(gram: Gram) -> NDArray[np.float64]:
    """Return each class's mean features (C, F); a class without examples has mean 0."""
    counts = gram.labels[-1]
    means: NDArray[np.float64] = gram.labels[:-1].T / np.maximum(counts, 1.0)[:, None]
    return means
