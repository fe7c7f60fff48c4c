"""What a message says: a client's description of itself, an order to train, and the reply.

A train message carries exactly one ``ArrayRecord`` (weights) and one ``ConfigRecord``, as Flower's mods expect. Index
sets stay on the server: a client needs weights, scales and hyperparameters only. A reply's one ``ArrayRecord`` holds
the trained weights, or, where the order asks for it, their encoded difference (`fl_sparse.codec.quantization`). Under
``optimizer-state = kept`` the records hold the optimiser's moments beside the weights: mods that take all of a record
for weights, such as clipping, do not go with it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fl_sparse.codec.quantization import Layout, decode, layout
from fl_sparse.features.statistics import FeatureStatistics, Standardizer
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.wire.arrays import array_record, finite, held_values, parameters_of, record_of
from fl_sparse.wire.exchange import ClientDescription, EvaluationReply, TrainOrder, TrainReply, UpdateEncoding
from fl_sparse.wire.flower_private import filled
from fl_sparse.wire.held_classes import CLASSES, held_classes
from fl_sparse.wire.moments import moment_shapes, split_moments, with_moments
from fl_sparse.wire.order_settings import order_settings

ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"
_NO_RECORDS, _NO_METRICS = RecordDict(), MetricRecord()


def content_of_description(description: ClientDescription) -> RecordDict:
    """Return the reply to the first question."""
    config: dict[str, Any] = {
        "partition-id": description.partition_id,
        "num-examples": description.num_examples,
        "num-features": description.num_features,
        "classes": list(description.classes),
        "capacity": description.capacity,
        "moments-n": description.statistics.n,
        "moments-mean": _float64_bytes(description.statistics.mean),
        "moments-m2": _float64_bytes(description.statistics.m2),
        "version": description.version,
    }
    if description.shard_bytes is not None:
        config["shard-bytes"] = description.shard_bytes
    return RecordDict({CONFIG: ConfigRecord(config)})


def read_description(content: RecordDict) -> ClientDescription:
    """Read a node's description.

    Raises
    ------
    ValueError
        Naming what is missing or malformed.
    """
    config = record_of(content, CONFIG, ConfigRecord)
    if config is None:
        raise ValueError("the description carries no record 'config'")
    try:
        features = int(config["num-features"])  # type: ignore[arg-type]
        statistics = FeatureStatistics(
            n=int(config["moments-n"]),  # type: ignore[arg-type]
            mean=np.frombuffer(config["moments-mean"], dtype="<f8"),  # type: ignore[arg-type]
            m2=np.frombuffer(config["moments-m2"], dtype="<f8"),  # type: ignore[arg-type]
        )
        described = ClientDescription(
            partition_id=int(config["partition-id"]),  # type: ignore[arg-type]
            num_examples=int(config["num-examples"]),  # type: ignore[arg-type]
            num_features=features,
            classes=tuple(str(name) for name in config["classes"]),  # type: ignore[union-attr]
            capacity=float(config["capacity"]),  # type: ignore[arg-type]
            statistics=statistics,
            version=str(config["version"]),
            shard_bytes=int(config["shard-bytes"]) if "shard-bytes" in config else None,  # type: ignore[arg-type]
        )
    except KeyError as error:
        raise ValueError(f"the description lacks {error.args[0]!r}") from None
    except (TypeError, OverflowError) as error:
        raise ValueError(f"the description is malformed: {error}") from None
    if described.partition_id < 0 or not 0.0 < described.capacity <= 1.0:
        raise ValueError(f"partition-id = {described.partition_id} or capacity = {described.capacity} is out of range")
    if (described.shard_bytes or 0) < 0:
        raise ValueError(f"shard-bytes = {described.shard_bytes}; expected 0 or more")
    if statistics.mean.shape != (features,) or statistics.m2.shape != (features,):
        raise ValueError(f"the moments are of {statistics.mean.size} features; expected {features}")
    if not (np.isfinite(statistics.mean).all() and np.isfinite(statistics.m2).all()):
        raise ValueError("the moments are not finite")
    return described


def content_of_order(order: TrainOrder) -> RecordDict:
    """Return the content of a train message; arrays are shared, not copied."""
    config = order_settings(order)
    if order.prefixes:
        config["prefixes"] = [width for prefix in order.prefixes for width in prefix]
        config["self-distillation"] = order.self_distillation
    if order.update.format != "float32":
        config["update-format"] = order.update.format
        config["error-feedback"] = order.update.error_feedback
        config["residual-round"] = order.update.residual_round
    if order.absent_classes != "trained":
        config["absent-classes"] = order.absent_classes
    if order.moments:
        config["steps-taken"] = order.steps_taken
    if order.standardizer is not None:
        config.update(standardizer_values(order.standardizer))
    arrays = array_record(with_moments(order.parameters, order.moments))
    return filled(_NO_RECORDS, {ARRAYS: arrays, CONFIG: config})


def read_order(content: RecordDict) -> TrainOrder:
    """Read a train message."""
    record: Any = content[CONFIG]
    arrays: Any = content[ARRAYS]
    config = dict(record.items())
    layers = len(config["scales"]) - 1
    flat = list(config.get("prefixes", ()))
    prefixes = tuple(tuple(flat[start : start + layers]) for start in range(0, len(flat), max(1, layers)))
    parameters, moments = split_moments(parameters_of(arrays))
    return TrainOrder(
        round=config["round"],
        subnet=config["subnet"],
        parameters=parameters,
        scales=tuple(config["scales"]),
        activation=config["activation"],
        normalization=config["normalization"],
        optimizer=_optimizer(config["optimizer"], config["learning-rate"], config["momentum"], config["proximal"]),
        first_step=config["first-step"],
        local_steps=config["local-steps"],
        batch_size=config["batch-size"],
        seed=config["seed"],
        standardizer=standardizer_of(config),
        expects_standardizer=config["expects-standardizer"],
        prefixes=prefixes,
        self_distillation=config.get("self-distillation", False),
        update=UpdateEncoding(
            config.get("update-format", "float32"),
            config.get("error-feedback", False),
            config.get("residual-round", 0),
        ),
        moments=moments,
        absent_classes=config.get("absent-classes", "trained"),
        steps_taken=config.get("steps-taken", 0),
    )


@functools.lru_cache(maxsize=128, typed=True)
def _optimizer(name: str, learning_rate: float, momentum: float, proximal: float) -> OptimizerSpec:
    return OptimizerSpec(name, learning_rate, momentum, proximal)


def standardizer_values(standardizer: Standardizer) -> dict[str, bytes]:
    """Return a standardizer as values of a ``ConfigRecord``."""
    return {
        "standardizer-mean": _float32_bytes(standardizer.mean),
        "standardizer-inverse-std": _float32_bytes(standardizer.inverse_std),
    }


def standardizer_of(config: Mapping[str, Any]) -> Standardizer | None:
    """Read a standardizer from the values of a ``ConfigRecord``, None if it carries none."""
    if "standardizer-mean" not in config:
        return None
    return Standardizer(
        mean=np.frombuffer(config["standardizer-mean"], dtype="<f4"),
        inverse_std=np.frombuffer(config["standardizer-inverse-std"], dtype="<f4"),
    )


def content_of_reply(reply: TrainReply) -> RecordDict:
    """Return the content of a client's reply; arrays are shared, not copied."""
    values: dict[str, Any] = {
        "round": reply.round,
        "subnet": reply.subnet,
        "num-examples": reply.num_examples,
        "loss": float(reply.loss),
    }
    if reply.classes is not None:
        values[CLASSES] = list(reply.classes)
    arrays, metrics = array_record(with_moments(reply.parameters, reply.moments)), filled(_NO_METRICS, values)
    return filled(_NO_RECORDS, {ARRAYS: arrays, METRICS: metrics})


def read_reply(
    content: RecordDict,
    *,
    round_number: int,
    subnet: int,
    shapes: Mapping[str, tuple[int, ...]],
    update_format: str = "float32",
    moments: Sequence[str] = (),
    says_classes: bool = False,
) -> TrainReply:
    """Read and check a reply; an encoded difference is decoded, and ``moments`` names those that it has to carry.

    Raises
    ------
    ValueError
        With the reason for refusal: another round or subnet, missing or unexpected arrays, another shape or dtype,
        values that are not finite, int8 arrays that no encoding makes, a negative second moment, less than one example,
        or, where it has to say the classes held, none of them or others than there are.
    """
    if (reason := refusal_of(content)) is not None:
        raise ValueError(reason)
    metrics, arrays = record_of(content, METRICS, MetricRecord), record_of(content, ARRAYS, ArrayRecord)
    if metrics is None or arrays is None:
        raise ValueError("the reply lacks its arrays or its metrics")
    try:
        answered: dict[str, Any] = {key: metrics[key] for key in ("round", "subnet", "num-examples", "loss")}
    except KeyError as error:
        raise ValueError(f"the reply lacks {error.args[0]!r}") from None
    for key, expected in (("round", round_number), ("subnet", subnet)):
        if answered[key] != expected:
            raise ValueError(f"the reply is for {key} {answered[key]}; expected {expected}")
    examples, loss = answered["num-examples"], answered["loss"]
    if isinstance(examples, list) or not math.isfinite(examples) or examples < 1:
        raise ValueError(f"num-examples = {examples}; expected 1 or more")
    if isinstance(loss, list) or not math.isfinite(loss):
        raise ValueError(f"loss = {loss}; expected a finite number")
    classes = held_classes(metrics, shapes["output.bias"][0]) if says_classes else None
    awaited = {**layout(shapes, update_format), **layout(moment_shapes(shapes, moments), "float32")}
    trained, kept = split_moments(_checked(arrays, awaited))
    parameters = decode(trained, update_format)
    for name, values in with_moments(parameters, kept).items():
        if not finite(values):
            raise ValueError(f"{name} holds values that are not finite")
    for name, values in kept.get("second", {}).items():
        if (values < 0).any():
            raise ValueError(f"the second moment of {name} holds negative values")
    return TrainReply(round_number, subnet, parameters, int(examples), float(loss), kept, classes)


def content_of_evaluation(reply: EvaluationReply) -> RecordDict:
    """Return the content of a client's evaluation."""
    metrics = {"round": reply.round, "num-examples": reply.num_examples, "accuracy": reply.accuracy, "loss": reply.loss}
    return RecordDict({METRICS: MetricRecord(dict(metrics))})


def read_evaluation(content: RecordDict, *, round_number: int) -> EvaluationReply:
    """Read and check a client's evaluation.

    Raises
    ------
    ValueError
        With the reason for refusal.
    """
    if (reason := refusal_of(content)) is not None:
        raise ValueError(reason)
    metrics: Any = record_of(content, METRICS, MetricRecord) or {}
    try:
        found = EvaluationReply(
            metrics["round"], float(metrics["accuracy"]), float(metrics["loss"]), int(metrics["num-examples"])
        )
    except KeyError as error:
        raise ValueError(f"the evaluation lacks {error.args[0]!r}") from None
    except (TypeError, OverflowError) as error:
        raise ValueError(f"the evaluation is malformed: {error}") from None
    if found.round != round_number:
        raise ValueError(f"the evaluation is for round {found.round}; expected {round_number}")
    if found.num_examples <= 0 or not (0.0 <= found.accuracy <= 1.0 and math.isfinite(found.loss)):
        raise ValueError(f"no evaluation: accuracy {found.accuracy}, loss {found.loss}, {found.num_examples} examples")
    return found


def _checked(record: ArrayRecord, expected: Layout) -> dict[str, Any]:
    if record.keys() != expected.keys():
        missing, unexpected = sorted(set(expected) - set(record)), sorted(set(record) - set(expected))
        raise ValueError(f"the reply's arrays differ: missing {missing}, unexpected {unexpected}")
    # The arrays themselves are asked, not what the record says of them.
    arrays = held_values(record)
    for name, (dtype, shape) in expected.items():
        if arrays[name].dtype != dtype:
            raise ValueError(f"{name} is {arrays[name].dtype}; expected {dtype}")
        if arrays[name].shape != shape:
            raise ValueError(f"{name} is of shape {arrays[name].shape}; expected {shape}")
    return arrays


def content_of_refusal(reason: str) -> RecordDict:
    """Return the content of a reply that says why there is no result."""
    return RecordDict({CONFIG: ConfigRecord({"refused": reason})})


def refusal_of(content: RecordDict) -> str | None:
    """Return the reason a client gave for not answering, if it refused."""
    config = record_of(content, CONFIG, ConfigRecord)
    return str(config["refused"]) if config is not None and "refused" in config else None


def _float64_bytes(values: Any) -> bytes:
    return np.asarray(values, dtype="<f8").tobytes()


def _float32_bytes(values: Any) -> bytes:
    return np.asarray(values, dtype="<f4").tobytes()
