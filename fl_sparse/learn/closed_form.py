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

from fl_sparse.errors import InputError

Labelled = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Standardised features (n, F) and labels (n,)."""
PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10000.0)
SHARPNESS = np.float32(10.0)
"""Ridge scores lie near 0 and 1; multiplied by this, they are logits."""
ABSENT_BIAS = -1e9
"""Logit of a class without examples: below any other class's, and finite, so that losses are finite."""


@dataclass(frozen=True)
class Gram:
    """Sums over n examples, with a constant 1 as the last feature: X'X (F+1, F+1) and X'Y (F+1, C), float64.

    X'X is (0, 0) where the sums of each class, X'Y, are enough.
    """

    features: NDArray[np.float64] = field(repr=False)
    labels: NDArray[np.float64] = field(repr=False)


def gram_of(
    features: NDArray[np.float32], labels: NDArray[np.int64], num_classes: int, *, class_sums: bool = False
) -> Gram:
    """Return a client's sums of features (n, F) and labels (n,); with ``class_sums``, X'Y alone."""
    width = features.shape[1] + 1
    squares = 0 if class_sums else width
    total = Gram(np.zeros((squares, squares)), np.zeros((width, num_classes)))
    for start in range(0, len(labels), 4096):
        rows = features[start : start + 4096].astype(np.float64)
        rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
        targets = np.eye(num_classes)[labels[start : start + 4096]]
        total = Gram(total.features + rows[:, :squares].T @ rows[:, :squares], total.labels + rows.T @ targets)
    return total


def add(grams: Sequence[Gram]) -> Gram:
    """Return the sums over all clients."""
    return Gram(
        np.sum([gram.features for gram in grams], axis=0),
        np.sum([gram.labels for gram in grams], axis=0),
    )


class GramSum:
    """A running sum over clients: memory holds one client's Gram matrices, which are larger than its model.

    The order of the clients decides the last bits.
    """

    def __init__(self) -> None:
        self.total: Gram | None = None
        self.clients = 0

    def add(self, own: Gram) -> None:
        """Add a client's sums."""
        self.total = own if self.total is None else add([self.total, own])
        self.clients += 1


def ridge(gram: Gram, penalty: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weight (C, F) and bias (C,) of min ‖XW' + b − Y‖² + penalty·‖W‖²; the bias is not penalised.

    A class without examples scores 0 everywhere. Since the scores of all classes sum to 1, it is never the largest.
    """
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


def gram_flops(examples: int, num_features: int, num_classes: int, *, class_sums: bool = False) -> float:
    """Return the FLOPs of a client's sums: the matrix products of `gram_of`."""
    width = num_features + 1
    return 2.0 * examples * width * (num_classes + (0 if class_sums else width))


def accuracy(
    weight: NDArray[np.float64], bias: NDArray[np.float64], features: NDArray[np.float32], labels: NDArray[np.int64]
) -> float:
    """Return the share of examples (n, F) that a linear classifier (C, F) and (C,) gives its own label (n,)."""
    return float(((features @ weight.T + bias).argmax(axis=1) == labels).mean())


def best_penalty(gram: Gram, features: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the penalty with the best accuracy on validation examples, the first of equals."""
    return max(PENALTIES, key=lambda penalty: accuracy(*ridge(gram, penalty), features, labels))


def chosen_penalty(penalty: float, gram: Gram, validation: Labelled | None) -> float:
    """Return the penalty; if it is 0, the best one on validation examples.

    Raises
    ------
    InputError
        If the penalty is 0 and there are no validation examples.
    """
    if penalty:
        return penalty
    if validation is None:
        raise InputError("ridge-penalty = 0.0 is chosen on the server's validation images; it holds none")
    return best_penalty(gram, *validation)


def ridge_logits(gram: Gram, penalty: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weight (C, F) and bias (C,) of ridge regression's scores as logits."""
    weight, bias = ridge(gram, penalty)
    return SHARPNESS * weight.astype(np.float32), SHARPNESS * bias.astype(np.float32)


def nearest_mean(gram: Gram) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weight (C, F) and bias (C,) whose logits are largest for the nearest class mean m.

    ‖x − m‖² is smallest where m·x − ‖m‖²/2 is largest. A class without examples has no mean, and is never the nearest.
    """
    means = class_means(gram)
    return means, np.where(gram.labels[-1] > 0, -0.5 * np.square(means).sum(axis=1), ABSENT_BIAS)
