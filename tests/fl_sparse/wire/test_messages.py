"""Orders and replies survive the wire, and replies are checked."""

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import ArrayRecord, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto

from fl_sparse.codec.quantization import encode
from fl_sparse.features.statistics import FeatureStatistics, Standardizer
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.wire import (
    array_record,
    content_of_description,
    content_of_order,
    content_of_refusal,
    content_of_reply,
    read_description,
    read_evaluation,
    read_order,
    read_reply,
    refusal_of,
)
from fl_sparse.wire.exchange import ClientDescription, TrainOrder, TrainReply, UpdateEncoding

WEIGHTS = {"output.weight": np.ones((2, 3), np.float32), "output.bias": np.zeros(2, np.float32)}
SHAPES = {name: values.shape for name, values in WEIGHTS.items()}
REPLY = TrainReply(round=4, subnet=1, parameters=WEIGHTS, num_examples=10, loss=0.5)
ORDER = TrainOrder(
    round=4,
    subnet=1,
    parameters=WEIGHTS,
    scales=(1.0, 4.0),
    activation="gelu",
    normalization="layer",
    optimizer=OptimizerSpec("sgd", 0.1, 0.9, 0.01),
    first_step=60,
    local_steps=20,
    batch_size=64,
    seed=7,
    standardizer=Standardizer(np.array([0.5, 1.5], np.float32), np.array([2.0, 3.0], np.float32)),
    expects_standardizer=True,
)
DESCRIPTION = ClientDescription(
    partition_id=2,
    num_examples=30,
    num_features=3,
    classes=("cat", "dog"),
    capacity=0.5,
    statistics=FeatureStatistics(30, np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])),
    version="0.1.0",
)


def across(content: RecordDict) -> RecordDict:
    return recorddict_from_proto(recorddict_to_proto(content))


def read(content: RecordDict) -> TrainReply:
    return read_reply(content, round_number=4, subnet=1, shapes=SHAPES)


def altered(**changes) -> RecordDict:
    content = content_of_reply(REPLY)
    metrics = dict(content.metric_records["metrics"]) | changes
    content["metrics"] = MetricRecord({key: value for key, value in metrics.items() if value is not None})
    return content


def with_arrays(arrays: dict[str, np.ndarray]) -> RecordDict:
    content = content_of_reply(REPLY)
    content["arrays"] = array_record(arrays)
    return content


def test_an_order_survives_the_wire() -> None:
    received = read_order(across(content_of_order(ORDER)))
    for name, values in ORDER.parameters.items():
        np.testing.assert_array_equal(received.parameters[name], values)
    assert received.standardizer is not None
    assert ORDER.standardizer is not None
    np.testing.assert_array_equal(received.standardizer.mean, ORDER.standardizer.mean)
    np.testing.assert_array_equal(received.standardizer.inverse_std, ORDER.standardizer.inverse_std)
    plain = {"parameters": {}, "standardizer": None}
    assert replace(received, **plain) == replace(ORDER, **plain)


def test_an_order_carries_one_array_record_and_one_config_record() -> None:
    content = content_of_order(ORDER)
    assert len(content.array_records) == len(content.config_records) == len(content) / 2 == 1


def test_a_description_survives_the_wire() -> None:
    received = read_description(across(content_of_description(DESCRIPTION)))
    np.testing.assert_array_equal(received.statistics.mean, DESCRIPTION.statistics.mean)
    np.testing.assert_array_equal(received.statistics.m2, DESCRIPTION.statistics.m2)
    assert replace(received, statistics=DESCRIPTION.statistics) == DESCRIPTION
    weighed = replace(DESCRIPTION, shard_bytes=3_000_000_000)
    assert read_description(across(content_of_description(weighed))).shard_bytes == 3_000_000_000


def test_a_malformed_description_is_named() -> None:
    content = content_of_description(DESCRIPTION)
    del content.config_records["config"]["capacity"]
    with pytest.raises(ValueError, match="lacks 'capacity'"):
        read_description(content)
    with pytest.raises(ValueError, match="moments are of 3 features; expected 4"):
        read_description(content_of_description(replace(DESCRIPTION, num_features=4)))
    for wrong in ({"partition_id": -1}, {"capacity": 0.0}, {"capacity": float("nan")}):
        with pytest.raises(ValueError, match="is out of range"):
            read_description(content_of_description(replace(DESCRIPTION, **wrong)))
    content = content_of_description(DESCRIPTION)
    content.config_records["config"]["classes"] = 3
    with pytest.raises(ValueError, match="malformed"):
        read_description(content)
    broken = FeatureStatistics(30, np.array([np.nan, 1, 1]), np.ones(3))
    with pytest.raises(ValueError, match="not finite"):
        read_description(content_of_description(replace(DESCRIPTION, statistics=broken)))
    with pytest.raises(ValueError, match="shard-bytes = -1; expected 0 or more"):
        read_description(content_of_description(replace(DESCRIPTION, shard_bytes=-1)))


def test_a_good_reply_is_read() -> None:
    reply = read(across(content_of_reply(REPLY)))
    assert (reply.round, reply.subnet, reply.num_examples, reply.loss) == (4, 1, 10, 0.5)


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


UPDATE = {"output.weight": np.array([[1, -2, 3], [0, 0, 0]], np.float32), "output.bias": np.ones(2, np.float32)}


@pytest.mark.parametrize("update_format", ["bfloat16", "int8"])
def test_an_encoded_update_survives_the_wire(update_format: str) -> None:
    content = across(with_arrays(encode(UPDATE, update_format)))
    reply = read_reply(content, round_number=4, subnet=1, shapes=SHAPES, update_format=update_format)
    assert set(reply.parameters) == set(UPDATE)
    for name, values in reply.parameters.items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, UPDATE[name], atol=3 / 254)


def test_an_order_asks_for_a_format_and_says_nothing_of_the_default() -> None:
    asked = replace(ORDER, update=UpdateEncoding("int8", True, 3))
    assert read_order(across(content_of_order(asked))).update == asked.update
    assert "update-format" not in content_of_order(ORDER).config_records["config"]


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
    arrays = {name: values for name, values in (encode(UPDATE, update_format) | changes).items() if values is not None}
    with pytest.raises(ValueError, match=words):
        read_reply(across(with_arrays(arrays)), round_number=4, subnet=1, shapes=SHAPES, update_format=update_format)


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


@pytest.mark.parametrize("changes", [{"accuracy": [0.5]}, {"num-examples": float("inf")}, {"accuracy": 2.0}])
def test_a_malformed_evaluation_is_refused(changes: dict[str, object]) -> None:
    metrics = {"round": 1, "accuracy": 0.5, "loss": 1.0, "num-examples": 3} | changes
    with pytest.raises(ValueError, match="evaluation"):
        read_evaluation(RecordDict({"metrics": MetricRecord(metrics)}), round_number=1)


def test_only_refusals_are_refusals() -> None:
    assert refusal_of(content_of_refusal("late")) == "late"
    assert refusal_of(content_of_reply(REPLY)) is None


def test_classes_are_asked_for_and_said_only_when_absent_ones_are_not_trained() -> None:
    asked = replace(ORDER, absent_classes="masked")
    assert read_order(across(content_of_order(asked))).absent_classes == "masked"
    assert "absent-classes" not in content_of_order(ORDER).config_records["config"]
    assert "classes" not in content_of_reply(REPLY).metric_records["metrics"]
    said = across(content_of_reply(replace(REPLY, classes=(1,))))
    assert read_reply(said, round_number=4, subnet=1, shapes=SHAPES, says_classes=True).classes == (1,)
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
        read_reply(across(content), round_number=4, subnet=1, shapes=SHAPES, says_classes=True)
