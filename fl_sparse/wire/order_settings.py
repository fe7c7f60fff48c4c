"""What an order says besides its arrays and its options: one record for all clients, copied for each.

Flower's records check each value that is put in, which for a thousand orders that say the same costs more than training
a small subnet.
"""

from __future__ import annotations

import functools

from flwr.app import ConfigRecord

from fl_sparse.wire.exchange import TrainOrder
from fl_sparse.wire.flower_private import filled


def order_settings(order: TrainOrder) -> ConfigRecord:
    """Return the round, the subnet, its scales and the hyperparameters as a record of the caller's own."""
    optimizer = order.optimizer
    alike = _settings(
        order.activation,
        order.normalization,
        optimizer.name,
        optimizer.learning_rate,
        optimizer.momentum,
        optimizer.proximal,
        order.local_steps,
        order.batch_size,
        order.seed,
        order.expects_standardizer,
    )
    own = {
        "round": int(order.round),
        "subnet": int(order.subnet),
        "scales": [float(scale) for scale in order.scales],
        "first-step": int(order.first_step),
    }
    return filled(alike, own)


@functools.lru_cache(maxsize=16, typed=True)
def _settings(
    activation: str,
    normalization: str,
    optimizer: str,
    learning_rate: float,
    momentum: float,
    proximal: float,
    local_steps: int,
    batch_size: int,
    seed: int,
    expects_standardizer: bool,
) -> ConfigRecord:
    """Return what all orders of a run say; ``typed``, since 1, 1.0 and true are equal but not the same in a message."""
    return ConfigRecord(
        {
            "activation": activation,
            "normalization": normalization,
            "optimizer": optimizer,
            "learning-rate": learning_rate,
            "momentum": momentum,
            "proximal": proximal,
            "local-steps": local_steps,
            "batch-size": batch_size,
            "seed": seed,
            "expects-standardizer": expects_standardizer,
        }
    )
