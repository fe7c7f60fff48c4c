"""What a client is told to do in a round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from flwr.app import RecordDict

from fl_sparse.config import RunConfig
from fl_sparse.features.statistics import Standardizer
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.model.flops import examples_trained
from fl_sparse.model.workload import Workload, workload
from fl_sparse.wire.exchange import Parameters, TrainOrder, UpdateEncoding
from strategies.round.groups import Placement


@dataclass(frozen=True)
class Letter:
    """An order written out, for all clients of a round who are told the same.

    Parameters
    ----------
    order
        What it says.
    content
        The message's content; whoever wants to change it takes `fl_sparse.wire.copied` of it.
    size
        Bytes that the content counts for.
    shapes
        Name -> shape of the parameters.
    """

    order: TrainOrder = field(repr=False)
    content: RecordDict = field(repr=False)
    size: int
    shapes: Mapping[str, tuple[int, ...]]


def train_order(
    config: RunConfig,
    round_number: int,
    placement: Placement,
    parameters: Parameters,
    standardizer: Standardizer | None,
    *,
    expects_standardizer: bool,
    residual_round: int = 0,
) -> TrainOrder:
    """Return the order to train these parameters, which are those that the placement holds."""
    return TrainOrder(
        round=round_number,
        subnet=placement.subnet,
        parameters=parameters,
        scales=placement.scales,
        activation=config.activation,
        normalization=config.normalization,
        optimizer=OptimizerSpec(config.optimizer, config.learning_rate, config.momentum, config.proximal),
        first_step=(round_number - 1) * config.local_steps,
        local_steps=config.local_steps,
        batch_size=config.batch_size,
        seed=config.seed,
        standardizer=standardizer,
        expects_standardizer=expects_standardizer,
        prefixes=placement.prefixes,
        self_distillation=config.self_distillation,
        absent_classes=config.absent_classes,
        update=UpdateEncoding(config.update_format, config.error_feedback, residual_round),
    )


def evaluation_order(order: TrainOrder, standardizer: Standardizer | None) -> TrainOrder:
    """Return an order's model to be evaluated: no update comes back, and the standardizer is always sent along.

    A node that never trained, or lost its state, has none: an evaluation stands by itself.
    """
    return replace(order, standardizer=standardizer, update=UpdateEncoding(), absent_classes="trained")


def order_workload(order: TrainOrder, num_examples: int) -> Workload:
    """Return the work of an order's local steps on a client of so many examples."""
    shapes = {name: values.shape for name, values in order.parameters.items()}
    examples = examples_trained(num_examples, order.batch_size, first_step=order.first_step, steps=order.local_steps)
    return workload(shapes, examples, order.prefixes, self_distillation=order.self_distillation)
