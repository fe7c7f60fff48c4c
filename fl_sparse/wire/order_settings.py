"""What an order says besides its arrays and its options: one record for a subnet's replicas, copied for each client.

Flower's records check each value that is put in, which for a thousand orders that say the same costs more than training
a small subnet.
"""

from __future__ import annotations

import functools

from flwr.app import ConfigRecord

from fl_sparse.exchange import TrainOrder
from fl_sparse.wire.flower_private import filled


def order_settings(order: TrainOrder) -> ConfigRecord:
    """Return the round, the subnet, its scales and the hyperparameters as a record of the caller's own."""
    optimizer = order.optimizer
    record = _settings(
        order.round,
        order.subnet,
        order.scales,
        order.activation,
        order.normalization,
        optimizer.name,
        optimizer.learning_rate,
        optimizer.momentum,
        optimizer.proximal,
        order.first_step,
        order.local_steps,
        order.batch_size,
        order.seed,
        order.expects_standardizer,
    )
    # A copy shares its lists.
    return filled(record, {"scales": [float(scale) for scale in order.scales]})


@functools.lru_cache(maxsize=128, typed=True)
def _settings(
    round_number: int,
    subnet: int,
    scales: tuple[float, ...],
    activation: str,
    normalization: str,
    optimizer: str,
    learning_rate: float,
    momentum: float,
    proximal: float,
    first_step: int,
    local_steps: int,
    batch_size: int,
    seed: int,
    expects_standardizer: bool,
) -> ConfigRecord:
    """Return the record of these values; ``typed``, since 1, 1.0 and true are equal but not the same in a message."""
    return ConfigRecord(
        {
            "round": round_number,
            "subnet": subnet,
            "scales": list(scales),
            "activation": activation,
            "normalization": normalization,
            "optimizer": optimizer,
            "learning-rate": learning_rate,
            "momentum": momentum,
            "proximal": proximal,
            "first-step": first_step,
            "local-steps": local_steps,
            "batch-size": batch_size,
            "seed": seed,
            "expects-standardizer": expects_standardizer,
        }
    )
