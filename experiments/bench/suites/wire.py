"""Suite ``wire``: bytes of a client's messages against its subnet's own, the time they take, and what is copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from flwr.app import RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict

from experiments.bench.orders import subnet_order
from experiments.bench.results import Comparison, Measurement, SuiteResult, compared, measured
from experiments.bench.settings import Settings
from experiments.bench.timing import interleaved, ratio
from fl_sparse.features.statistics import Standardizer
from fl_sparse.model.mlp import MLPSpec
from fl_sparse.wire import (
    Expected,
    Standardizing,
    TrainOrder,
    TrainReply,
    content_of_order,
    content_of_reply,
    parameters_of,
    read_order,
    read_reply,
    wire_bytes,
)

CAVEATS = (
    "bytes are counted as Flower deflates a message's objects; the envelope, about 100 bytes, is left out",
    "a subnet's own bytes: its float32 values, once down and once up",
    "the first train message also carries the standardizer, 8 bytes a feature; later ones do not",
    "'to bytes and back' is Flower's protobuf code for the same message, which a process boundary costs on top",
)


def run(settings: Settings) -> SuiteResult:
    """Count and time the messages of S = 4 and 16."""
    features, widths = (12, (32, 32)) if settings.quick else (768, (1000, 1000))
    spec = MLPSpec(features, widths, 10)
    measurements: list[Measurement] = []
    comparisons: list[Comparison] = []
    details: dict[str, Any] = {}
    for count in (4, 16):
        settings.told(f"messages at S = {count}")
        order, expected = subnet_order(spec, count, 100, expects_standardizer=True)
        values = order.job.part.parameters
        reply = TrainReply(100, 0, values, 1000, 1.25)
        down, up = content_of_order(order), content_of_reply(reply)
        own = sum(array.nbytes for array in values.values())
        sent = wire_bytes(down) + wire_bytes(up)
        told = replace(order, standardizing=Standardizing(True, _standardizer(features)))
        first = wire_bytes(content_of_order(told)) + wire_bytes(up)
        measurements.append(Measurement(f"S = {count}: bytes down and up", "B", sent, first=first))
        measurements.append(Measurement(f"S = {count}: the subnet's own, twice", "B", 2 * own))
        found, serialised = _times((order, down), (reply, up, expected), f"S = {count}", settings.quick)
        measurements += found
        goal = "≤ 2" if count == 4 else ""
        for label, total in (("each round", sent), ("with the standardizer", first)):
            added = 100 * (total / (2 * own) - 1)
            comparisons.append(Comparison(f"S = {count}: added bytes, {label}", added, goal=goal, unit="%"))
        comparisons.append(serialised)
        copied = _copied(values, down) + _copied(values, up)
        comparisons.append(Comparison(f"S = {count}: array bytes copied in-process", copied, goal="≤ 0", unit="B"))
        details[f"S = {count}"] = {"own": own, "down": wire_bytes(down), "up": wire_bytes(up), "first": first}
    return SuiteResult("wire", tuple(measurements), tuple(comparisons), CAVEATS, details)


def _standardizer(features: int) -> Standardizer:
    return Standardizer(np.zeros(features, dtype=np.float32), np.ones(features, dtype=np.float32))


def _times(
    asked: tuple[TrainOrder, RecordDict], answered: tuple[TrainReply, RecordDict, Expected], label: str, quick: bool
) -> tuple[list[Measurement], Comparison]:
    """Time an order and a reply, each given beside the content that is written of it."""
    (order, down), (reply, up, expected) = asked, answered

    def in_process() -> None:
        read_order(content_of_order(order))
        read_reply(content_of_reply(reply), round_number=100, number=0, expected=expected)

    def through_bytes() -> None:
        for content in (content_of_order(order), content_of_reply(reply)):
            data = recorddict_to_proto(content).SerializeToString()
            recorddict_from_proto(ProtoRecordDict.FromString(data))

    variants: Mapping[str, Callable[[], object]] = {
        "order written": lambda: content_of_order(order),
        "order read": lambda: read_order(down),
        "reply written": lambda: content_of_reply(reply),
        "reply read and checked": lambda: read_reply(up, round_number=100, number=0, expected=expected),
        "bytes of both counted": lambda: (wire_bytes(down), wire_bytes(up)),
        "both in-process": in_process,
        "both to bytes and back": through_bytes,
    }
    timings = interleaved(variants, repeats=5 if quick else 100, warm_up=2)
    found = [measured(f"{label}: {name}", timing, "µs") for name, timing in timings.items()]
    dearer = ratio(timings["both to bytes and back"], timings["both in-process"])
    return found, compared(f"{label}: to bytes and back ÷ in-process", dearer)


def _copied(arrays: Mapping[str, Any], content: RecordDict) -> int:
    """Return the bytes of arrays that a message does not share with what was put in."""
    read = parameters_of(content.array_records["arrays"])
    return sum(values.nbytes for name, values in arrays.items() if not np.shares_memory(values, read[name]))
