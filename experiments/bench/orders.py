"""The order that suites send: one of IST's subnets of an untrained model."""

from __future__ import annotations

from fl_sparse.config import RunConfig
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.part import extract, subnet_scales
from fl_sparse.wire.exchange import TrainOrder
from strategies.methods.ist import draw_subnets
from strategies.round.groups import Placement
from strategies.round.orders import train_order


def subnet_order(spec: MLPSpec, count: int, round_number: int, *, expects_standardizer: bool) -> TrainOrder:
    """Return the order to train the first of ``count`` subnets: Adam, 20 steps of 64."""
    config = RunConfig(
        optimizer="adam", learning_rate=1e-3, local_steps=20, batch_size=64, activation=spec.activation, seed=0
    )
    subnet = draw_subnets(spec.hidden_widths, count, draw=0, seed=config.seed)[0]
    placement = Placement(0, subnet, subnet_scales(subnet, spec.hidden_widths, "mean"))
    parameters = extract(init_parameters(spec, config.seed), subnet)
    return train_order(config, round_number, placement, parameters, None, expects_standardizer=expects_standardizer)
