"""Orders to train, with what a test does not care about filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fl_sparse.learn import OptimizerSpec
from fl_sparse.wire.exchange import TrainOrder


def order(parameters: Mapping[str, np.ndarray], **changes: object) -> TrainOrder:
    """Return an order for an MLP with one hidden layer: two steps of SGD on four examples."""
    made = TrainOrder(
        round=1,
        subnet=0,
        parameters=parameters,
        scales=(1.0, 1.0),
        activation="relu",
        normalization="none",
        optimizer=OptimizerSpec("sgd", 0.1),
        first_step=0,
        local_steps=2,
        batch_size=4,
        seed=0,
        standardizer=None,
        expects_standardizer=False,
    )
    return replace(made, **changes)
