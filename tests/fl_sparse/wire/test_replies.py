"""Replies survive the wire, and are checked."""

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import ArrayRecord, MetricRecord, RecordDict

from fl_sparse.codec import CODECS
from fl_sparse.model.mlp import MLPSpec
from fl_sparse.wire import (
    Expected,
    TrainReply,
    array_record,
    content_of_refusal,
    content_of_reply,
    read_reply,
    refusal_of,
)
from tests.fl_sparse.wire.boundary import across

WEIGHTS = {"output.weight": np.ones((2, 3), np.float32), "output.bias": np.zeros(2, np.float32)}
UPDATE = {"output.weight": np.array([[1, -2, 3], [0, 0, 0]], np.float32), "output.bias": np.ones(2, np.float32)}
MODEL = MLPSpec(3, (), 2).model
EXPECTED, SAYS_CLASSES = Expected(MODEL), Expected(MODEL, says_classes=True)
REPLY = TrainReply(round=4, number=1, parameters=WEIGHTS, num_examples=10, loss=0.5)


def read(content: RecordDict) -> TrainReply:
    return read_reply(content, round_number=4, number=1, expected=EXPECTED)


def altered(**changes) -> RecordDict:
    content = content_of_reply(REPLY)
    metrics = dict(content.metric_records["metrics"]) | changes
    content["metrics"] = MetricRecord({key: value for key, value in metrics.items() if value is not None})
    return content


def with_arrays(arrays: dict[str, np.ndarray]) -> RecordDict:
    content = content_of_reply(REPLY)
    content["arrays"] = array_record(arrays)
    return content


def test_a_good_reply_is_read() -> None:
    reply = read(across(content_of_reply(REPLY)))
    assert (reply.round, reply.number, reply.num_examples, reply.loss) == (4, 1, 10, 0.5)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (altered(round=3), "for round 3; expected 4"),
        (altered(subnet=0), "for subnet 0; expected 1"),
        (altered(**{"num-examples": 0}), "num-examples = 0"),
        (altered(**{"num-examples": -5}), "num-examples = -5"),
        (altered(**{"num-examples": float("nan")}), "num-examples = nan"),
        (altered(**{"num-examples": 0.5}), "num-examples = 0.5; expected 1 or more"),
        (altered(**{"num-examples": [3]}), r"num-examples = \[3\]"),
        (altered(loss=None), "lacks 'loss'"),
        (altered(loss=[0.5]), r"loss = \[0.5\]; expected a finite number"),
        (altered(loss=float("nan")), "loss = nan"),
        (with_arrays({"output.bias": WEIGHTS["output.bias"]}), r"missing \['output.weight'\]"),
        (with_arrays(WEIGHTS | {"more": np.ones(1, np.float32)}), r"unexpected \['more'\]"),
        (with_arrays(WEIGHTS | {"output.bias": np.zeros(3, np.float32)}), r"shape \(3,\); expected \(2,\)"),
        (with_arrays(WEIGHTS | {"output.bias": np.zeros(2)}), "float64; expected float32"),
        (with_arrays(WEIGHTS | {"output.bias": np.array([0, np.inf], np.float32)}), "not finite"),
        (RecordDict({"arrays": ArrayRecord()}), "lacks its arrays or its metrics"),
        (content_of_refusal("no data today"), "no data today"),
    ],
)
def test_a_bad_reply_is_refused_with_its_reason(content: RecordDict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(content)


@pytest.mark.parametrize("update_format", ["bfloat16", "int8"])
def test_an_encoded_update_survives_the_wire(update_format: str) -> None:
    content = across(with_arrays(CODECS[update_format].encode(UPDATE)))
    reply = read_reply(content, round_number=4, number=1, expected=Expected(MODEL, update_format))
    assert set(reply.parameters) == set(UPDATE)
    for name, values in reply.parameters.items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, UPDATE[name], atol=3 / 254)


@pytest.mark.parametrize(
    ("update_format", "changes", "words"),
    [
        ("int8", {"output.weight.scale": None}, r"missing \['output.weight.scale'\]"),
        ("int8", {"more": np.zeros(1, np.int8)}, r"unexpected \['more'\]"),
        ("int8", {"output.weight": UPDATE["output.weight"]}, "output.weight is float32; expected int8"),
        ("int8", {"output.weight": np.zeros((2, 3), np.uint8)}, "output.weight is uint8; expected int8"),
        (
            "int8",
            {"output.weight": np.zeros((3, 2), np.int8)},
            r"output.weight is of shape \(3, 2\); expected \(2, 3\)",
        ),
        ("int8", {"output.weight": np.full((2, 3), -128, np.int8)}, "the code -128; expected -127 to 127"),
        (
            "int8",
            {"output.bias.scale": np.zeros(2, np.float32)},
            r"output.bias.scale is of shape \(2,\); expected \(1,\)",
        ),
        ("int8", {"output.bias.scale": np.zeros(1)}, "output.bias.scale is float64; expected float32"),
        ("int8", {"output.bias.scale": np.array([np.nan], np.float32)}, "output.bias.scale holds .* not finite"),
        ("int8", {"output.bias.scale": np.array([np.inf], np.float32)}, "output.bias.scale holds .* not finite"),
        (
            "int8",
            {"output.bias.scale": np.array([-1.0], np.float32)},
            "output.bias.scale holds values that are negative",
        ),
        ("int8", {"output.bias.scale": np.array([3e38], np.float32)}, "output.bias holds values that are not finite"),
        ("bfloat16", {"output.bias": np.array([0x7F80, 0], np.uint16)}, "output.bias holds values that are not finite"),
        ("bfloat16", {"output.bias": np.array([0x7FC0, 0], np.uint16)}, "output.bias holds values that are not finite"),
        ("bfloat16", {"output.bias": np.zeros(2, np.float16)}, "output.bias is float16; expected uint16"),
        ("bfloat16", {"output.bias": np.zeros(3, np.uint16)}, r"output.bias is of shape \(3,\); expected \(2,\)"),
        ("float32", {"output.bias": np.zeros(2, np.uint16)}, "output.bias is uint16; expected float32"),
    ],
)
def test_a_malformed_update_is_refused_with_its_reason(update_format: str, changes: dict, words: str) -> None:
    encoded = CODECS[update_format].encode(UPDATE) | changes
    content = across(with_arrays({name: values for name, values in encoded.items() if values is not None}))
    with pytest.raises(ValueError, match=words):
        read_reply(content, round_number=4, number=1, expected=Expected(MODEL, update_format))


def test_a_lying_shape_is_found() -> None:
    content = across(content_of_reply(REPLY))
    content.array_records["arrays"]["output.bias"].shape = (2,)
    content.array_records["arrays"]["output.bias"].data = content.array_records["arrays"]["output.weight"].data
    with pytest.raises(ValueError, match="expected"):
        read(content)


def test_a_lying_dtype_is_found() -> None:
    content = across(content_of_reply(REPLY))
    wide = array_record({"output.bias": np.zeros(2)})["output.bias"].data
    content.array_records["arrays"]["output.bias"].data = wide
    with pytest.raises(ValueError, match=r"output\.bias is float64; expected float32"):
        read(content)


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"no array"])
def test_damaged_arrays_are_refused(data: bytes) -> None:
    content = across(content_of_reply(REPLY))
    content.array_records["arrays"]["output.bias"].data = data
    with pytest.raises(ValueError, match=r"output\.bias cannot be read"):
        read(content)


def test_only_refusals_are_refusals() -> None:
    assert refusal_of(content_of_refusal("late")) == "late"
    assert refusal_of(content_of_reply(REPLY)) is None


def test_classes_are_said_only_when_asked_for() -> None:
    assert "classes" not in content_of_reply(REPLY).metric_records["metrics"]
    said = across(content_of_reply(replace(REPLY, classes=(1,))))
    assert read_reply(said, round_number=4, number=1, expected=SAYS_CLASSES).classes == (1,)
    assert read(said).classes is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (altered(), "the reply lacks 'classes'"),
        (altered(classes=[]), r"classes = \[\]; expected one or more different numbers from 0 to 1, ascending"),
        (altered(classes=[0, 2]), r"classes = \[0, 2\]"),
        (altered(classes=[-1, 0]), r"classes = \[-1, 0\]"),
        (altered(classes=[1, 0]), r"classes = \[1, 0\]"),
        (altered(classes=[1, 1]), r"classes = \[1, 1\]"),
        (altered(classes=[0.0, 1.0]), r"classes = \[0.0, 1.0\]"),
        (altered(classes=1), "classes = 1; expected"),
        (altered(classes=list(range(1000))), r"classes = \[0, 1, .*\.\.\.; expected"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_classes_that_cannot_be_are_refused(content: RecordDict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_reply(across(content), round_number=4, number=1, expected=SAYS_CLASSES)
