"""Orders: messages that tell a client to train a part or to evaluate the whole model.

A train message carries exactly one ``ArrayRecord`` (weights) and one ``ConfigRecord``, as Flower's mods expect. Index
sets stay on the server: a client needs weights, scales and hyperparameters only. Under ``optimizer-state = kept`` the
record holds the optimiser's moments beside the weights, so mods that treat a whole record as weights, such as clipping,
must not be used.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ConfigRecord, RecordDict

from fl_sparse.codec import CODECS
from fl_sparse.codec.residual import UpdateEncoding
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.learn.task import CarriedState, HeldPart, Task, TrainingJob
from fl_sparse.wire.arrays import ARRAYS, CONFIG, NO_RECORDS, array_record, parameters_of
from fl_sparse.wire.flower_private import filled
from fl_sparse.wire.moments import split_moments, with_moments
from fl_sparse.wire.standardizer import Standardizing, standardizer_of, standardizer_values


@dataclass(frozen=True)
class Broadcast:
    """How the part's values travel down: a codec's name, and its arrays; None in float32, which sends the values."""

    format: str = "float32"
    arrays: Mapping[str, Any] | None = field(default=None, repr=False)


NO_ENCODING, AS_IT_IS = UpdateEncoding(), Broadcast()


@dataclass(frozen=True)
class TrainOrder:
    """One client's work in a round.

    Parameters
    ----------
    round
        The round.
    number
        The part's number; the reply repeats it.
    job
        What to train; the part's values are what the client decodes.
    standardizing
        Whether features are standardised, and by what.
    update
        How the update travels up.
    broadcast
        How the part's values travel down.
    """

    round: int
    number: int
    job: TrainingJob
    standardizing: Standardizing
    update: UpdateEncoding = NO_ENCODING
    broadcast: Broadcast = AS_IT_IS


@dataclass(frozen=True)
class EvaluationOrder:
    """The order to evaluate the whole model, which ``job`` holds, on images that a client held back."""

    round: int
    job: TrainingJob
    standardizing: Standardizing


def content_of_order(order: TrainOrder) -> RecordDict:
    """Return the content of a train message; arrays are shared, not copied."""
    task, part, state = order.job.task, order.job.part, order.job.state
    config = _settings(order.round, order.number, order.job, order.standardizing)
    if part.prefixes:
        config["prefixes"] = [width for prefix in part.prefixes for width in prefix]
        config["self-distillation"] = task.self_distillation
    if order.update.format != "float32":
        config["update-format"] = order.update.format
        config["error-feedback"] = order.update.error_feedback
        config["residual-round"] = order.update.residual_round
    if order.broadcast.format != "float32":
        config["broadcast-format"] = order.broadcast.format
    if task.absent_classes != "trained":
        config["absent-classes"] = task.absent_classes
    if state.moments:
        config["steps-taken"] = state.steps_taken
    sent = part.parameters if order.broadcast.arrays is None else order.broadcast.arrays
    return filled(NO_RECORDS, {ARRAYS: array_record(with_moments(sent, state.moments)), CONFIG: config})


def content_of_evaluation_order(order: EvaluationOrder) -> RecordDict:
    """Return the content of an evaluation message."""
    config = _settings(order.round, 0, order.job, order.standardizing)
    return filled(NO_RECORDS, {ARRAYS: array_record(order.job.part.parameters), CONFIG: config})


def read_order(content: RecordDict) -> TrainOrder:
    """Read a train message."""
    config = _config(content)
    broadcast = str(config.get("broadcast-format", "float32"))
    update = UpdateEncoding(
        config.get("update-format", "float32"), config.get("error-feedback", False), config.get("residual-round", 0)
    )
    job, arrays = _job(content, config, broadcast)
    travelled = Broadcast(broadcast, None if broadcast == "float32" else arrays)
    return TrainOrder(config["round"], config["subnet"], job, _standardizing(config), update, travelled)


def read_evaluation_order(content: RecordDict) -> EvaluationOrder:
    """Read an evaluation message."""
    config = _config(content)
    return EvaluationOrder(config["round"], _job(content, config, "float32")[0], _standardizing(config))


def _settings(number: int, part_number: int, job: TrainingJob, standardizing: Standardizing) -> ConfigRecord:
    """Return the round, the part's number and scales, and the task as a new record."""
    own = {
        "round": int(number),
        "subnet": int(part_number),
        "scales": [float(scale) for scale in job.part.scales],
        "first-step": int(job.first_step),
    }
    config = filled(_alike(job.task, standardizing.expected), own)
    if standardizing.sent is not None:
        config.update(standardizer_values(standardizing.sent))
    return config


@functools.lru_cache(maxsize=16, typed=True)
def _alike(task: Task, expects_standardizer: bool) -> ConfigRecord:
    """Return what all orders of a run have in common, made once and then copied.

    Flower checks each value put into a record: for a thousand orders, the checks cost more than training a small part.
    """
    optimizer = task.optimizer
    return ConfigRecord(
        {
            "activation": task.activation,
            "normalization": task.normalization,
            "optimizer": optimizer.name,
            "learning-rate": optimizer.learning_rate,
            "momentum": optimizer.momentum,
            "proximal": optimizer.proximal,
            "local-steps": task.local_steps,
            "batch-size": task.batch_size,
            "seed": task.seed,
            "expects-standardizer": expects_standardizer,
        }
    )


def _config(content: RecordDict) -> dict[str, Any]:
    record: Any = content[CONFIG]
    return dict(record.items())


def _standardizing(config: Mapping[str, Any]) -> Standardizing:
    return Standardizing(config["expects-standardizer"], standardizer_of(config))


def _job(content: RecordDict, config: Mapping[str, Any], broadcast: str) -> tuple[TrainingJob, dict[str, Any]]:
    """Return a message's job, and the arrays that its parameters were decoded from."""
    record: Any = content[ARRAYS]
    arrays, moments = split_moments(parameters_of(record))
    layers = len(config["scales"]) - 1
    flat = list(config.get("prefixes", ()))
    prefixes = tuple(tuple(flat[start : start + layers]) for start in range(0, len(flat), max(1, layers)))
    part = HeldPart(CODECS[broadcast].decode(arrays), tuple(config["scales"]), prefixes)
    return TrainingJob(
        _task(config), config["first-step"], part, CarriedState(moments, config.get("steps-taken", 0))
    ), arrays


def _task(config: Mapping[str, Any]) -> Task:
    return Task(
        activation=config["activation"],
        normalization=config["normalization"],
        optimizer=_optimizer(config["optimizer"], config["learning-rate"], config["momentum"], config["proximal"]),
        local_steps=config["local-steps"],
        batch_size=config["batch-size"],
        seed=config["seed"],
        absent_classes=config.get("absent-classes", "trained"),
        self_distillation=config.get("self-distillation", False),
    )


@functools.lru_cache(maxsize=128, typed=True)
def _optimizer(name: str, learning_rate: float, momentum: float, proximal: float) -> OptimizerSpec:
    return OptimizerSpec(name, learning_rate, momentum, proximal)
