"""Laws of parts, over models of any axes: cut and put back, sizes, digests, overlaps."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.model.parameters import Model, shapes_of
from fl_sparse.part import WHOLE, Part, PartUpdate, Reassembly, overlap, reassemble
from tests import reference
from tests.fl_sparse.part.random_parts import ATTENTION, Whole, parts_of, random_values, updates_of, wholes


def bits(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values).tobytes()


def alive_coordinates(model: Model, part: Part) -> dict[str, set[tuple[int, ...]]]:
    """Return each parameter's coordinates, of its view, that a part holds alive."""
    return {
        name: set(itertools.compress(reference.coordinates(spec, part), reference.alive(spec, name, part)))
        for name, spec in model.items()
    }


def alive_places(model: Model, part: Part) -> dict[str, np.ndarray]:
    """Return the same as masks of the whole parameters' shapes."""
    places = {}
    for name, coordinates in alive_coordinates(model, part).items():
        view = np.zeros(model[name].view, dtype=bool)
        for coordinate in coordinates:
            view[coordinate] = True
        places[name] = view.reshape(model[name].shape)
    return places


def held_values(whole: Whole, part: Part, seed: int = 0) -> dict[str, np.ndarray]:
    return random_values(shapes_of(part.model(whole.model)), np.random.default_rng(seed))


@settings(max_examples=80, deadline=None)
@given(data=st.data(), whole=wholes())
def test_cutting_after_putting_back_changes_nothing_that_is_alive(data, whole: Whole) -> None:
    part = data.draw(parts_of(whole))
    held = held_values(whole, part)
    back = part.cut(whole.model, part.scatter(whole.model, whole.values, held))
    assert {name: values.shape for name, values in back.items()} == shapes_of(part.model(whole.model))
    for name, values in held.items():
        kept = np.where(part.masks.get(name, True), values, np.float32(0))
        assert bits(back[name]) == bits(kept), name
        assert back[name].dtype == np.float32
        assert back[name].flags.c_contiguous


@settings(max_examples=80, deadline=None)
@given(data=st.data(), whole=wholes())
def test_nothing_outside_a_part_changes_a_bit(data, whole: Whole) -> None:
    part = data.draw(parts_of(whole))
    held = held_values(whole, part)
    before = [{name: bits(values) for name, values in some.items()} for some in (whole.values, held)]
    merged = part.scatter(whole.model, whole.values, held)
    for name, places in alive_places(whole.model, part).items():
        assert merged[name].shape == whole.model[name].shape
        assert bits(merged[name][~places]) == bits(whole.values[name][~places]), name
        lives = np.array(reference.alive(whole.model[name], name, part), dtype=bool)
        assert bits(merged[name][places]) == bits(held[name].reshape(-1)[lives]), name
    assert [{name: bits(values) for name, values in some.items()} for some in (whole.values, held)] == before


@settings(max_examples=80, deadline=None)
@given(data=st.data(), whole=wholes(), pending_bytes=st.sampled_from([0, 200, 2**26]))
def test_reassembled_is_the_weighted_mean_over_those_who_hold_a_coordinate_alive(
    data, whole: Whole, pending_bytes: int
) -> None:
    updates = data.draw(updates_of(whole))
    before = {name: bits(values) for name, values in whole.values.items()}
    reassembly = Reassembly(whole.model, whole.values, pending_bytes)
    for update in updates:
        reassembly.add(update)
    merged, covered = reassembly.result()
    expected, held = reference.reassemble(whole.model, whole.values, updates)
    for name, values in expected.items():
        mask = covered[name]
        found = np.ones(values.shape, dtype=bool) if mask is None else mask
        np.testing.assert_array_equal(found, held[name])
        assert bits(merged[name][~found]) == bits(whole.values[name][~found])
        # Sums may differ by the order of float64 operations.
        np.testing.assert_allclose(merged[name], values, rtol=2e-7, atol=0)
        assert (merged[name].dtype, merged[name].shape) == (np.float32, values.shape)
        assert bits(whole.values[name]) == before[name]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), whole=wholes(), weights=st.lists(st.integers(1, 300), min_size=1, max_size=4))
def test_equal_values_give_the_same_again_whatever_the_masks(data, whole: Whole, weights: list[int]) -> None:
    parts = [data.draw(parts_of(whole)) for _ in weights]
    updates = [
        PartUpdate(part, part.cut(whole.model, whole.values), weight / 3)
        for part, weight in zip(parts, weights, strict=True)
    ]
    merged, _ = reassemble(whole.model, whole.values, updates)
    for name, values in whole.values.items():
        assert bits(merged[name]) == bits(values), name


@settings(max_examples=40, deadline=None)
@given(data=st.data(), whole=wholes())
def test_an_axis_that_is_not_named_is_held_whole(data, whole: Whole) -> None:
    named = Part({axis: np.arange(size) for axis, size in whole.axes.items()})
    some = data.draw(parts_of(whole))
    more = Part({**named.units, **some.units}, some.masks)
    for one, other in ((WHOLE, named), (some, more)):
        assert one.model(whole.model) == other.model(whole.model)
        assert one.size(whole.model) == other.size(whole.model)
        held = held_values(whole, one)
        for name in whole.model:
            assert bits(one.cut(whole.model, whole.values)[name]) == bits(other.cut(whole.model, whole.values)[name])
            scattered = [part.scatter(whole.model, whole.values, held)[name] for part in (one, other)]
            assert bits(scattered[0]) == bits(scattered[1])
    assert WHOLE.model(whole.model) == whole.model
    for name, values in WHOLE.cut(whole.model, whole.values).items():
        assert values is whole.values[name] or bits(values) == bits(whole.values[name])


@settings(max_examples=80, deadline=None)
@given(data=st.data(), whole=wholes())
def test_size_counts_what_is_alive(data, whole: Whole) -> None:
    part = data.draw(parts_of(whole))
    count = sum(map(len, alive_coordinates(whole.model, part).values()))
    assert part.size(whole.model) == count
    assert part.nbytes(whole.model) == 4 * count
    assert WHOLE.size(whole.model) == sum(math.prod(spec.shape) for spec in whole.model.values())


@settings(max_examples=80, deadline=None)
@given(data=st.data(), whole=wholes())
def test_an_overlap_is_the_coordinates_of_both(data, whole: Whole) -> None:
    one, other = data.draw(parts_of(whole)), data.draw(parts_of(whole))
    common, swapped = overlap(whole.model, one, other), overlap(whole.model, other, one)
    assert common.digest == swapped.digest
    held = [alive_coordinates(whole.model, part) for part in (one, other, common)]
    for name in whole.model:
        assert held[2][name] == held[0][name] & held[1][name], name
    assert overlap(whole.model, one, one).size(whole.model) == one.size(whole.model)
    assert alive_coordinates(whole.model, overlap(whole.model, one, WHOLE)) == held[0]


@settings(max_examples=80, deadline=None)
@given(data=st.data(), whole=wholes())
def test_an_update_within_fewer_units_is_that_of_the_smaller_part(data, whole: Whole) -> None:
    part = data.draw(parts_of(whole))
    whole_axes = {axis: size for axis, size in whole.axes.items() if axis not in part.units}
    if not whole_axes:
        return
    axis = data.draw(st.sampled_from(sorted(whole_axes)))
    units = np.array(sorted(data.draw(st.sets(st.integers(0, whole_axes[axis] - 1)))), dtype=np.int64)
    found = PartUpdate(part, held_values(whole, part), 3.0).within(whole.model, axis, units)
    smaller = overlap(whole.model, part, Part({axis: units}))
    everything = part.scatter(whole.model, whole.values, held_values(whole, part))
    assert found.weight == 3.0
    assert found.part.digest == smaller.digest
    assert {name: values.shape for name, values in found.parameters.items()} == shapes_of(smaller.model(whole.model))
    for name, values in smaller.cut(whole.model, everything).items():
        lives = smaller.masks.get(name, np.ones(values.shape, dtype=bool))
        assert bits(np.asarray(found.parameters[name])[lives]) == bits(values[lives]), name
    assert bits_of(reassemble(whole.model, whole.values, [found])[0]) == bits_of(
        smaller.scatter(whole.model, whole.values, smaller.cut(whole.model, everything))
    )


def bits_of(values: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: bits(array) for name, array in values.items()}


def content(part: Part) -> object:
    """Return a part's units and masks as what Python compares."""
    units = {axis: tuple(own.tolist()) for axis, own in part.units.items()}
    masks = {name: (own.shape, tuple(own.reshape(-1).tolist())) for name, own in part.masks.items()}
    return units, masks


UNITS = st.sets(st.integers(0, 2)).map(lambda chosen: np.array(sorted(chosen), dtype=np.int64))
MASKS = st.builds(
    lambda shape, seed: np.random.default_rng(seed).random(shape) < 0.5,
    st.sampled_from([(1,), (2,), (1, 2), (2, 1), (8,), (9,)]),
    st.integers(0, 3),
)
PARTS = st.builds(
    Part,
    st.dictionaries(st.sampled_from(["", "a", "b", "ab"]), UNITS, max_size=2),
    st.dictionaries(st.sampled_from(["a", "b"]), MASKS, max_size=2),
)


@settings(max_examples=300, deadline=None)
@given(one=PARTS, other=PARTS)
def test_digests_tell_parts_apart(one: Part, other: Part) -> None:
    assert (one.digest == other.digest) == (content(one) == content(other))
    assert len(one.digest) == 16


def named(**units: list[int]) -> Part:
    return Part({axis: np.array(own, dtype=np.int64) for axis, own in units.items()})


def masked(name: str, shape: tuple[int, ...], *dead: int) -> Part:
    mask = np.ones(shape, dtype=bool)
    mask.reshape(-1)[list(dead)] = False
    return Part({}, {name: mask})


DIFFERENT = [
    named(),
    named(a=[]),
    named(b=[]),
    named(a=[], b=[]),
    named(a=[0]),
    named(b=[0]),
    named(a=[0], b=[]),
    named(a=[], b=[0]),
    named(a=[0, 1]),
    named(a=[0], b=[1]),
    named(a=[1], b=[0]),
    named(a=[0, 1], b=[]),
    named(a=[0, 256]),
    named(ab=[0]),
    # The byte of "a", and names and numbers that run into each other.
    named(a=[97]),
    named(a=[97], a1=[]),
    named(aa=[0]),
    named(**{"": [97], "\x01\0\0\0\0\0\0\0z": [0]}),
    named(**{"a\0\0\0\0\0\0\0": [1], "z": [0]}),
    *(masked(name, shape) for name in "ab" for shape in [(6,), (2, 3), (3, 2), (1, 6), (5,), (0,), (0, 3)]),
    masked("a", (6,), 0),
    masked("a", (6,), 5),
    masked("a", (2, 3), 0),
    # Packed, eight dead coordinates more are a byte of zeros.
    masked("a", (8,), *range(8)),
    masked("a", (16,), *range(16)),
    masked("a", (7,), *range(7)),
    Part({"a": np.arange(1)}, {"a": np.ones(1, dtype=bool)}),
    Part({"b": np.arange(1)}, {"a": np.ones(1, dtype=bool)}),
]


def test_no_two_of_these_have_one_digest() -> None:
    assert len({part.digest for part in DIFFERENT}) == len(DIFFERENT)


def test_how_a_part_lies_in_memory_or_is_written_does_not_show_in_its_digest() -> None:
    units, mask = np.array([1, 4, 6]), np.arange(12).reshape(3, 4) % 5 > 0
    plain = Part({"a": units, "b": units}, {"w": mask, "v": mask.T})
    other = Part(
        {"b": np.repeat(units, 2)[::2].astype(np.int32), "a": units.astype(">i8")},
        {"v": np.ascontiguousarray(mask.T), "w": np.asfortranarray(mask)},
    )
    assert plain.digest == other.digest


@pytest.mark.parametrize("units", [[2, 1], [1, 1], [-1, 2], [[1]]])
def test_a_part_is_of_distinct_sorted_units(units: list) -> None:
    with pytest.raises(ValueError, match=r"the units of axis hidden\.1 must be distinct, sorted and not negative"):
        Part({"hidden.0": np.array([0]), "hidden.1": np.array(units, dtype=np.int64)})


def test_heads_are_cut_from_three_blocks() -> None:
    values = {
        name: np.arange(math.prod(spec.shape), dtype=np.float32).reshape(spec.shape) for name, spec in ATTENTION.items()
    }
    part = Part({"heads": np.array([0, 2])})
    held = part.cut(ATTENTION, values)
    # Query, key and value of three heads of two rows each.
    assert held["qkv"].shape == (12, 4)
    assert (held["qkv"][:, 0] / 4).tolist() == [0, 1, 4, 5, 6, 7, 10, 11, 12, 13, 16, 17]
    assert held["proj"][0].tolist() == [0, 1, 4, 5]
    assert held["square"].tolist() == [[0, 2], [6, 8]]
    assert held["gain"] is values["gain"]
