"""Replies: what a client sends back, and all checks before a reply counts.

A reply's one ``ArrayRecord`` holds the trained weights or, if the order asks for it, their encoded difference from the
weights received (`fl_sparse.codec.residual`), and the optimiser's moments if the order carried some.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ArrayRecord, MetricRecord, RecordDict

from fl_sparse.codec import CODECS
from fl_sparse.codec.codec import Layout
from fl_sparse.codec.residual import Residual, encode_update
from fl_sparse.learn.task import OptimizerMoments, Trained
from fl_sparse.model.parameters import CLASSES as CLASS_AXIS
from fl_sparse.model.parameters import Model, axis_sizes, shapes_of
from fl_sparse.wire.arrays import ARRAYS, METRICS, NO_METRICS, NO_RECORDS, array_record, finite, held_values, record_of
from fl_sparse.wire.flower_private import filled
from fl_sparse.wire.held_classes import CLASSES, held_classes
from fl_sparse.wire.moments import moment_shapes, split_moments, with_moments
from fl_sparse.wire.orders import TrainOrder
from fl_sparse.wire.refusal import refusal_of


@dataclass(frozen=True)
class TrainReply:
    """What a client sends back."""

    round: int
    number: int
    """The part's number, from the order."""
    parameters: Mapping[str, Any]
    """The trained weights, as arrays or factored; or, if the order asks for it, their encoded difference from the
    weights received."""
    num_examples: int
    loss: float
    """Mean over the local steps of the batches' mean cross-entropy."""
    moments: OptimizerMoments = field(default_factory=dict)
    """The optimiser's moments after the last step, if the order carried some."""
    classes: tuple[int, ...] | None = None
    """The classes that the client holds, ascending, if the order asked; its output rows of other classes do not count.
    """


@dataclass(frozen=True)
class Expected:
    """What a reply has to look like.

    Parameters
    ----------
    model
        The parameters that the client holds, in the sizes of its part.
    format
        The update's format.
    moments
        Names of the moments that the reply has to carry.
    says_classes
        Whether the reply has to say which classes the client holds.
    """

    model: Model = field(repr=False)
    format: str = "float32"
    moments: tuple[str, ...] = ()
    says_classes: bool = False

    @functools.cached_property
    def layout(self) -> Layout:
        """Dtype and shape of each of the reply's arrays."""
        moments = moment_shapes(self.model, self.moments)
        return {**CODECS[self.format].layout(shapes_of(self.model)), **CODECS["float32"].layout(moments)}

    @functools.cached_property
    def num_classes(self) -> int:
        """C."""
        return axis_sizes(self.model)[CLASS_AXIS]


def reply_to(order: TrainOrder, trained: Trained, before: Residual | None) -> tuple[TrainReply, Residual | None]:
    """Return a client's reply, encoded as the order asks, and the residual for its next reply.

    ``before`` is the client's residual, if it has one.
    """
    arrays, lost = encode_update(order.job.part.parameters, trained.parameters, order.update, before)
    reply = TrainReply(
        order.round, order.number, arrays, trained.num_examples, trained.loss, trained.moments, trained.classes
    )
    return reply, None if lost is None else Residual(order.round, lost)


def content_of_reply(reply: TrainReply) -> RecordDict:
    """Return the content of a client's reply; arrays are shared, not copied."""
    values: dict[str, Any] = {
        "round": reply.round,
        "subnet": reply.number,
        "num-examples": reply.num_examples,
        "loss": float(reply.loss),
    }
    if reply.classes is not None:
        values[CLASSES] = list(reply.classes)
    arrays, metrics = array_record(with_moments(reply.parameters, reply.moments)), filled(NO_METRICS, values)
    return filled(NO_RECORDS, {ARRAYS: arrays, METRICS: metrics})


def read_reply(
    content: RecordDict,
    *,
    round_number: int,
    number: int,
    expected: Expected,
) -> TrainReply:
    """Return a reply, checked and decoded.

    Raises
    ------
    ValueError
        With the reason for refusal: another round or part, missing or unexpected arrays, another shape or dtype,
        values that are not finite, int8 arrays that no encoding makes, a negative second moment, less than one example,
        or, if the reply has to name the classes held, no classes or unknown ones.
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
    for key, asked in (("round", round_number), ("subnet", number)):
        if answered[key] != asked:
            raise ValueError(f"the reply is for {key} {answered[key]}; expected {asked}")
    examples, loss = answered["num-examples"], answered["loss"]
    if isinstance(examples, list) or not math.isfinite(examples) or examples < 1:
        raise ValueError(f"num-examples = {examples}; expected 1 or more")
    if isinstance(loss, list) or not math.isfinite(loss):
        raise ValueError(f"loss = {loss}; expected a finite number")
    classes = held_classes(metrics, expected.num_classes) if expected.says_classes else None
    trained, moments = split_moments(_checked(arrays, expected.layout))
    parameters = CODECS[expected.format].decode(trained)
    for name, values in with_moments(parameters, moments).items():
        if not finite(values):
            raise ValueError(f"{name} holds values that are not finite")
    for name, values in moments.get("second", {}).items():
        if (values < 0).any():
            raise ValueError(f"the second moment of {name} holds negative values")
    return TrainReply(round_number, number, parameters, int(examples), float(loss), moments, classes)


def _checked(record: ArrayRecord, expected: Layout) -> dict[str, Any]:
    if record.keys() != expected.keys():
        missing, unexpected = sorted(set(expected) - set(record)), sorted(set(record) - set(expected))
        raise ValueError(f"the reply's arrays differ: missing {missing}, unexpected {unexpected}")
    # Check the arrays themselves, not what the record says of them.
    arrays = held_values(record)
    for name, (dtype, shape) in expected.items():
        if arrays[name].dtype != dtype:
            raise ValueError(f"{name} is {arrays[name].dtype}; expected {dtype}")
        if arrays[name].shape != shape:
            raise ValueError(f"{name} is of shape {arrays[name].shape}; expected {shape}")
    return arrays
