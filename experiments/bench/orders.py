"""The order that suites send: one of IST's subnets of an untrained model."""

from __future__ import annotations

from fl_sparse.config import RunConfig
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.wire import Expected, Standardizing, TrainOrder
from strategies.methods.ist import draw_subnets
from strategies.round.groups import Group, Placement
from strategies.round.handing import Handed
from strategies.round.orders import training_job


def subnet_order(
    spec: MLPSpec, count: int, round_number: int, *, expects_standardizer: bool
) -> tuple[TrainOrder, Expected]:
    """Return the order to train the first of ``count`` subnets (Adam, 20 steps of 64), and what its reply has to be."""
    config = RunConfig(
        optimizer="adam", learning_rate=1e-3, local_steps=20, batch_size=64, activation=spec.activation, seed=0
    )
    placement = Placement(draw_subnets(spec.shared_axes, count, draw=0, seed=config.seed)[0])
    model, values = placement.part.model(spec.model), placement.part.cut(spec.model, init_parameters(spec, config.seed))
    job = training_job(config, spec, round_number, placement, values)
    expected = Expected(model)
    order = Handed(Group(0, placement, ()), values, job, expected).order(
        config, round_number, Standardizing(expects_standardizer)
    )
    return order, expected
