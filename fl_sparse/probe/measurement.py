"""One measurement of the probe: features of train and test images in, one accuracy a readout out."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fl_sparse.features.statistics import Standardizer, statistics_of
from fl_sparse.probe.linear import (
    LOGISTIC_PENALTIES,
    RIDGE_PENALTIES,
    accuracy_of,
    fit_logistic,
    fit_ridge,
    linear_probe,
)
from fl_sparse.probe.neighbours import nearest_neighbours

READOUTS: Mapping[str, str] = {
    "linear": "logistic regression, its L2 penalty chosen on held-out training images",
    "ridge": "ridge regression on one-hot labels, its penalty chosen likewise",
    "knn": "20 nearest neighbours by cosine similarity",
}


@dataclass(frozen=True)
class Measurement:
    """Accuracy of one readout of one kind of features."""

    features: str
    """``pixels``, ``untrained``, or the encoder's name."""
    pooling: str
    """``cls``, ``mean``, ``both``; ``-`` for pixels."""
    readout: str
    """One of `READOUTS`."""
    ratio: float
    """ρ, of training and of test images."""
    seed: int
    accuracy: float
    """On the test images, 0 to 1."""
    penalty: float
    """Chosen penalty; 0 for nearest neighbours."""


@dataclass(frozen=True)
class Labelled:
    """Features float32 (n, F) and labels int64 (n,)."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]


def measure(
    train: Labelled,
    test: Labelled,
    validation: NDArray[np.int64],
    *,
    num_classes: int,
    readouts: tuple[str, ...] = tuple(READOUTS),
    device: str = "cpu",
) -> dict[str, tuple[float, float]]:
    """Return (test accuracy, penalty) by readout.

    Parameters
    ----------
    train, test
        Features are standardised by the training images' mean and deviation first.
    validation
        Rows of ``train`` that penalties are chosen on.
    num_classes
        C.
    readouts
        Of `READOUTS`.
    device
        PyTorch device.
    """
    standardize = Standardizer.of(statistics_of(train.features))
    x, x_test = (torch.from_numpy(standardize(part.features)).to(device) for part in (train, test))
    y, y_test = (torch.from_numpy(part.labels).to(device) for part in (train, test))
    results = {}
    for readout in readouts:
        if readout == "knn":
            results[readout] = (accuracy_of(nearest_neighbours(x, y, x_test, num_classes=num_classes), y_test), 0.0)
            continue
        scores, penalty = linear_probe(
            x,
            y,
            torch.from_numpy(validation).to(device),
            num_classes=num_classes,
            fit=fit_logistic if readout == "linear" else fit_ridge,
            penalties=LOGISTIC_PENALTIES if readout == "linear" else RIDGE_PENALTIES,
        )
        results[readout] = (accuracy_of(scores(x_test).argmax(dim=1), y_test), penalty)
    return results
