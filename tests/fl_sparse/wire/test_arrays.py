"""Arrays cross without copies in-process, and weigh what Flower sends."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.codec import CODECS
from fl_sparse.wire import array_record, parameters_of, wire_bytes
from fl_sparse.wire.arrays import SMALL, finite


def deflated(node) -> int:
    """Bytes of an object and all below it as Flower sends them, each occurrence counted."""
    if isinstance(node, Array):
        below = [chunk for _, chunk in node.slice_array()]
    else:
        below = list(node.values()) if isinstance(node, RecordDict | ArrayRecord) else []
    return len(node.deflate()) + sum(deflated(child) for child in below)


@settings(max_examples=25, deadline=None)
@given(
    shapes=st.dictionaries(st.text(min_size=1, max_size=8), st.lists(st.integers(1, 40), max_size=3), max_size=4),
    seed=st.integers(0, 9),
)
def test_wire_bytes_are_what_flower_deflates(shapes: dict[str, list[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    content = RecordDict(
        {
            "arrays": array_record(arrays),
            "config": ConfigRecord({"round": 3, "scales": [1.0, 4.0], "name": "ist", "mean": b"abc"}),
            "metrics": MetricRecord({"loss": 0.25}),
        }
    )
    assert wire_bytes(content) == deflated(content)
    ordinary = RecordDict(content)
    ordinary["arrays"] = ArrayRecord({name: Array(values) for name, values in arrays.items()})
    assert wire_bytes(ordinary) == deflated(ordinary) == wire_bytes(content)


INTEGERS = st.one_of(st.integers(-300, 300), st.integers(-(2**63), 2**63 - 1))
SCALARS = st.one_of(INTEGERS, st.floats(), st.booleans(), st.text(max_size=200), st.binary(max_size=200))
KINDS = (INTEGERS, st.floats(), st.booleans(), st.text(max_size=9))
LISTS = st.one_of(*(st.lists(kind, max_size=20) for kind in KINDS))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=8), st.one_of(SCALARS, LISTS), max_size=5))
def test_sizes_of_records_follow_from_kinds_and_lengths(values: dict) -> None:
    """Most of these meet the size of another record of the same kind, worked out before."""
    content = RecordDict({"config": ConfigRecord(values)})
    assert wire_bytes(content) == deflated(content)


@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (1, 5), (5, 1), (4, 6), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.uint16])
def test_sizes_do_not_depend_on_how_an_array_lies_in_memory(shape, dtype) -> None:
    rows = np.ones(shape, dtype)
    wide = np.ones((*shape[:-1], 2 * shape[-1]) if shape else (), dtype)
    strided = wide[..., ::2] if shape else wide
    for values in (rows, np.asfortranarray(rows), rows.T, strided, np.broadcast_to(dtype(1), shape)):
        content = RecordDict({"arrays": array_record({"a": values})})
        assert wire_bytes(content) == deflated(content)


@pytest.mark.parametrize("update_format", CODECS)
def test_wire_bytes_are_exact_in_every_format(update_format: str) -> None:
    rng = np.random.default_rng(0)
    shapes = {"hidden.0.weight": (30, 20), "hidden.0.bias": (30,), "output.weight": (3, 30), "output.bias": (3,)}
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    content = RecordDict({"arrays": array_record(CODECS[update_format].encode(weights))})
    assert wire_bytes(content) == deflated(content)


@pytest.mark.parametrize(("update_format", "share"), [("bfloat16", 1 / 2), ("int8", 1 / 4)])
def test_a_format_weighs_its_share_of_float32(update_format: str, share: float) -> None:
    weights = {f"hidden.{layer}.weight": np.ones((400, 500), np.float32) for layer in range(2)}
    whole, part = (
        wire_bytes(RecordDict({"a": array_record(CODECS[key].encode(weights))})) for key in ("float32", update_format)
    )
    # 4 bytes of scale a row of 500 bytes, and a kilobyte of names.
    assert share < part / whole < share + (0.004 if update_format == "int8" else 0.001)


SIGNED, UNSIGNED = st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1)
NUMBERS = (SIGNED, UNSIGNED, st.floats())
SCALARS = (*NUMBERS, st.booleans(), st.text(max_size=300), st.binary(max_size=300))


def records(kinds) -> st.SearchStrategy:
    values = st.one_of(*kinds, *(st.lists(kind, max_size=200) for kind in kinds))
    return st.dictionaries(st.text(max_size=140), values, max_size=6)


@settings(max_examples=200, deadline=None)
@given(config=records(SCALARS), metrics=records(NUMBERS))
def test_values_of_every_kind_weigh_what_flower_deflates(config: dict, metrics: dict) -> None:
    content = RecordDict({"config": ConfigRecord(config), "metrics": MetricRecord(metrics)})
    assert wire_bytes(content) == deflated(content)


def test_arrays_larger_than_a_chunk_are_counted_whole() -> None:
    content = RecordDict({"arrays": array_record({"weight": np.random.default_rng(0).normal(size=(1400, 1000))})})
    assert wire_bytes(content) == deflated(content)
    assert wire_bytes(content) > 2 * 5 * 2**20


def test_nothing_is_copied_or_serialised_until_a_boundary_asks() -> None:
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    record = array_record({"weight": weight})
    assert parameters_of(record)["weight"] is weight
    assert "_data" not in record["weight"].__dict__
    wire_bytes(RecordDict({"arrays": record}))
    assert "_data" not in record["weight"].__dict__


def test_flowers_own_codes_read_what_was_written() -> None:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    content = RecordDict({"arrays": array_record({"weight": weight})})
    through_protobuf = recorddict_from_proto(recorddict_to_proto(content))
    np.testing.assert_array_equal(parameters_of(through_protobuf.array_records["arrays"])["weight"], weight)
    lazy = content.array_records["arrays"]["weight"]
    inflated = Array.inflate(lazy.deflate(), dict(lazy.slice_array()))
    np.testing.assert_array_equal(inflated.numpy(), weight)


def test_pickled_objects_are_never_read() -> None:
    import io

    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    record = ArrayRecord()
    record["weight"] = Array("object", (1,), "numpy.ndarray", buffer.getvalue())
    with pytest.raises(ValueError, match="allow_pickle"):
        parameters_of(record)


@pytest.mark.parametrize("size", [1, SMALL, SMALL + 1])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_whose_squares_overflow_are_finite_and_others_are_not(size: int, bad: float) -> None:
    values = np.full(size, 3e38, dtype=np.float32)
    assert finite(values)
    values[-1] = bad
    assert not finite(values)
