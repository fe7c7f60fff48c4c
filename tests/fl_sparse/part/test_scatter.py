"""Laws of cutting parts of MLPs and reassembling them, and the weighted mean against a slow reference."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.model.mlp import MLPSpec, hidden_axes
from fl_sparse.model.parameters import CLASSES, shapes_of
from fl_sparse.part import WHOLE, Part, PartUpdate, Reassembly, reassemble
from tests import reference


@st.composite
def models(draw, max_width: int = 8) -> SimpleNamespace:
    widths = tuple(draw(st.lists(st.integers(1, max_width), max_size=3)))
    normalization = draw(st.sampled_from(["none", "layer"]))
    sizes = draw(st.integers(1, 4)), widths, draw(st.integers(1, 4))
    spec = MLPSpec(*sizes, "relu", normalization, skip=draw(st.booleans()))
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    parameters = random_parameters(shapes_of(spec.model), rng)
    return SimpleNamespace(spec=spec, model=spec.model, widths=widths, rng=rng, parameters=parameters)


def random_parameters(shapes: dict[str, tuple[int, ...]], rng: np.random.Generator) -> dict[str, np.ndarray]:
    # Zeros of both signs and numbers of very different size: a bit lost in a sum would show.
    made = {}
    for name, shape in shapes.items():
        values = rng.normal(size=shape) * 10.0 ** rng.integers(-30, 30, shape)
        made[name] = np.where(rng.random(shape) < 0.2, np.copysign(0.0, values), values).astype(np.float32)
    return made


def random_part(widths: tuple[int, ...], rng: np.random.Generator) -> Part:
    return Part(
        {
            axis: np.sort(rng.permutation(width)[: rng.integers(1, width + 1)]).astype(np.int64)
            for axis, width in hidden_axes(widths).items()
        }
    )


def part_of(*units: np.ndarray) -> Part:
    """Return the part with these units of each hidden layer."""
    return Part(dict(zip(hidden_axes([1] * len(units)), units, strict=True)))


def partition(widths: tuple[int, ...], count: int, rng: np.random.Generator) -> list[Part]:
    layers = [[np.sort(part) for part in np.array_split(rng.permutation(width), count)] for width in widths]
    return [part_of(*(layer[number] for layer in layers)) for number in range(count)]


def random_updates(model: SimpleNamespace, count: int, *, few: bool, outputs_share: float = 0.0) -> list[PartUpdate]:
    pool = [random_part(model.widths, model.rng) for _ in range(2 if few else count)]
    updates = []
    for _ in range(count):
        part = pool[model.rng.integers(len(pool))]
        held = shapes_of(part.model(model.model))
        weight = float(model.rng.integers(1, 1000)) / model.rng.choice([1, 3])
        classes = model.spec.num_classes
        outputs = np.sort(model.rng.permutation(classes)[: model.rng.integers(1, classes + 1)])
        update = PartUpdate(part, random_parameters(held, model.rng), weight)
        chosen = model.rng.random() < outputs_share
        updates.append(update.within(model.model, CLASSES, outputs) if chosen else update)
    return updates


def bits(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values).tobytes()


@given(model=models(), count=st.integers(1, 4))
def test_putting_back_what_was_cut_out_changes_no_bit(model: SimpleNamespace, count: int) -> None:
    parts = [random_part(model.widths, model.rng) for _ in range(count)]
    # Overlapping holders that all return what they were given: equal values give the same value.
    updates = [PartUpdate(part, part.cut(model.model, model.parameters), 1 + k / 3) for k, part in enumerate(parts)]
    merged, _ = reassemble(model.model, model.parameters, updates)
    for name, values in model.parameters.items():
        assert bits(merged[name]) == bits(values), name


@settings(max_examples=60, deadline=None)
@given(
    model=models(max_width=5),
    count=st.integers(0, 5),
    few=st.booleans(),
    outputs_share=st.sampled_from([0.0, 0.5, 1.0]),
    pending_bytes=st.sampled_from([0, 300, 2**26]),
)
def test_is_the_weighted_mean_over_holders(
    model: SimpleNamespace, count: int, few: bool, outputs_share: float, pending_bytes: int
) -> None:
    updates = random_updates(model, count, few=few, outputs_share=outputs_share)
    before = {name: bits(values) for name, values in model.parameters.items()}
    reassembly = Reassembly(model.model, model.parameters, pending_bytes)
    for update in updates:
        reassembly.add(update)
    merged, covered = reassembly.result()
    expected, held = reference.reassemble(model.model, model.parameters, updates)
    for name, values in expected.items():
        mask = covered[name]
        found = np.ones(values.shape, dtype=bool) if mask is None else mask
        np.testing.assert_array_equal(found, held[name])
        # Nobody's coordinates keep their bits; the others' sums may differ by the order of float64 operations.
        assert bits(merged[name][~found]) == bits(model.parameters[name][~found])
        np.testing.assert_allclose(merged[name], values, rtol=2e-7, atol=0)
        assert merged[name].dtype == np.float32
        assert bits(model.parameters[name]) == before[name]


@given(model=models(), count=st.integers(1, 4), replicas=st.integers(1, 4), pending_bytes=st.sampled_from([0, 300]))
def test_how_many_updates_are_held_changes_no_bit_of_shared_out_units(
    model: SimpleNamespace, count: int, replicas: int, pending_bytes: int
) -> None:
    count = min([count, *model.widths])
    updates = []
    for part in partition(model.widths, count, model.rng) * replicas:
        held = shapes_of(part.model(model.model))
        updates.append(PartUpdate(part, random_parameters(held, model.rng), float(model.rng.integers(20, 600))))
    at_once, _ = reassemble(model.model, model.parameters, updates)
    reassembly = Reassembly(model.model, model.parameters, pending_bytes)
    for update in updates:
        reassembly.add(update)
    merged, _ = reassembly.result()
    for name, values in at_once.items():
        assert bits(merged[name]) == bits(values), name


def test_threads_change_no_bit(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    model = MLPSpec(301, (700,), 3).model
    parameters = {"hidden.0.weight": rng.normal(size=(700, 301)).astype(np.float32)}
    updates = [
        PartUpdate(WHOLE, {"hidden.0.weight": rng.normal(size=(700, 301)).astype(np.float32)}, float(weight))
        for weight in rng.integers(1, 99, 6)
    ]
    found = set()
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        merged, _ = reassemble(model, parameters, updates)
        found.add(bits(merged["hidden.0.weight"]))
    assert len(found) == 1


def test_a_result_is_taken_once() -> None:
    parameters = {"output.bias": np.ones(3, dtype=np.float32)}
    reassembly = Reassembly(MLPSpec(2, (), 3).model, parameters)
    reassembly.result()
    with pytest.raises(ValueError, match="has been taken"):
        reassembly.result()


@given(model=models(), count=st.integers(1, 6))
def test_a_single_holder_is_copied_bit_for_bit(model: SimpleNamespace, count: int) -> None:
    count = min([count, *model.widths])
    updates = []
    for part in partition(model.widths, count, model.rng):
        held = shapes_of(part.model(model.model))
        updates.append(PartUpdate(part, random_parameters(held, model.rng), float(model.rng.integers(1, 99))))
    merged, _ = reassemble(model.model, model.parameters, updates)
    for update in updates:
        for name, values in update.part.cut(model.model, merged).items():
            if name.startswith("hidden.") or (name == "output.weight" and model.widths):
                assert bits(values) == bits(update.parameters[name]), name


@given(model=models(), count=st.integers(1, 6))
def test_every_parameter_of_a_partition_is_owned_but_for_off_diagonal_blocks(
    model: SimpleNamespace, count: int
) -> None:
    count = min([count, *model.widths])
    parts = partition(model.widths, count, model.rng)
    updates = [PartUpdate(part, part.cut(model.model, model.parameters), 1.0) for part in parts]
    _, covered = reassemble(model.model, model.parameters, updates)
    for name, values in model.parameters.items():
        mask = covered[name]
        kind, layer, *rest = [*name.split("."), ""]
        if kind == "hidden" and rest == ["weight", ""] and int(layer) > 0 and count > 1:
            owners = [np.empty(width, dtype=int) for width in model.widths]
            for number, part in enumerate(parts):
                for where, units in zip(owners, part.units.values(), strict=True):
                    where[units] = number
            diagonal = owners[int(layer)][:, None] == owners[int(layer) - 1]
            assert mask is not None
            np.testing.assert_array_equal(mask, diagonal)
        else:
            assert mask is None, (name, values.shape)


@given(weights=st.lists(st.integers(1, 500), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_the_output_bias_is_the_example_weighted_mean(weights: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = MLPSpec(3, (12,), 4).model
    parameters = random_parameters(shapes_of(model), rng)
    parts = partition((12,), 6, rng)
    updates = []
    for weight, part in zip(weights, parts, strict=False):
        held = {**part.cut(model, parameters), "output.bias": rng.normal(size=4).astype(np.float32)}
        updates.append(PartUpdate(part, held, weight))
    merged, _ = reassemble(model, parameters, updates)
    biases = np.stack([update.parameters["output.bias"].astype(np.float64) for update in updates])
    np.testing.assert_allclose(merged["output.bias"], np.average(biases, axis=0, weights=weights), rtol=1e-6, atol=1e-7)


def test_no_update_changes_nothing() -> None:
    model = MLPSpec(3, (4,), 2).model
    parameters = random_parameters(shapes_of(model), np.random.default_rng(0))
    merged, covered = reassemble(model, parameters, [])
    for name, values in parameters.items():
        assert merged[name] is values
        mask = covered[name]
        assert mask is not None
        assert not mask.any()


def test_whole_models_longer_than_a_chunk_are_averaged() -> None:
    rng = np.random.default_rng(0)
    model = MLPSpec(300, (200,), 3).model
    parameters, whole = random_parameters(shapes_of(model), rng), part_of(np.arange(200))
    updates = [PartUpdate(whole, random_parameters(shapes_of(model), rng), weight) for weight in (1, 2.5, 7)]
    merged, covered = reassemble(model, parameters, updates)
    for name in parameters:
        stacked = np.stack([update.parameters[name].astype(np.float64) for update in updates])
        expected = np.average(stacked, axis=0, weights=[1, 2.5, 7])
        np.testing.assert_allclose(merged[name], expected, rtol=2e-7)
        assert covered[name] is None


@pytest.mark.parametrize("weight", [0, -1.0, float("nan")])
def test_refuses_a_weight_that_is_not_positive(weight: float) -> None:
    model = MLPSpec(3, (4,), 2).model
    parameters = random_parameters(shapes_of(model), np.random.default_rng(0))
    with pytest.raises(ValueError, match="expected a positive number"):
        reassemble(model, parameters, [PartUpdate(part_of(np.arange(4)), parameters, weight)])


def test_refuses_shapes_that_are_not_the_parts() -> None:
    model = MLPSpec(3, (4,), 2).model
    parameters = random_parameters(shapes_of(model), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"hidden.0.weight is of shape \(4, 3\); its part's is \(2, 3\)"):
        reassemble(model, parameters, [PartUpdate(part_of(np.array([1, 2])), parameters, 1.0)])


def test_cut_parameters_are_contiguous_float32_and_whole_ones_are_not_copied() -> None:
    model = MLPSpec(3, (6, 5), 2).model
    parameters = random_parameters(shapes_of(model), np.random.default_rng(0))
    cut = part_of(np.array([1, 4]), np.arange(5)).cut(model, parameters)
    assert all(values.flags.c_contiguous and values.dtype == np.float32 for values in cut.values())
    np.testing.assert_array_equal(cut["hidden.1.weight"], parameters["hidden.1.weight"][:, [1, 4]])
    assert cut["output.weight"] is parameters["output.weight"]


def test_output_rows_count_only_of_those_who_hold_them() -> None:
    rng = np.random.default_rng(0)
    model = MLPSpec(3, (4,), 3).model
    parameters, whole = random_parameters(shapes_of(model), rng), part_of(np.arange(4))
    one, other = ({name: np.full_like(v, value) for name, v in parameters.items()} for value in (2.0, 4.0))
    updates = [
        PartUpdate(whole, one, 1.0).within(model, CLASSES, np.array([0])),
        PartUpdate(whole, other, 3.0).within(model, CLASSES, np.array([0, 2])),
    ]
    merged, covered = reassemble(model, parameters, updates)
    for name in ("output.weight", "output.bias"):
        assert (merged[name][0] == 3.5).all()
        assert bits(merged[name][1]) == bits(parameters[name][1])
        assert (merged[name][2] == 4.0).all()
        mask = covered[name]
        assert mask is not None
        np.testing.assert_array_equal(mask.reshape(3, -1).all(axis=1), [True, False, True])
    assert (merged["hidden.0.weight"] == 3.5).all()


def test_holding_every_output_is_holding_all_of_the_model() -> None:
    rng = np.random.default_rng(0)
    model = MLPSpec(3, (4,), 3).model
    parameters, whole = random_parameters(shapes_of(model), rng), part_of(np.arange(4))
    updates = [PartUpdate(whole, random_parameters(shapes_of(model), rng), weight) for weight in (1.0, 2.0)]
    plain, _ = reassemble(model, parameters, updates)
    limited = [update.within(model, CLASSES, np.arange(3)) for update in updates]
    named, covered = reassemble(model, parameters, limited)
    for name in parameters:
        assert bits(named[name]) == bits(plain[name])
        assert covered[name] is None
