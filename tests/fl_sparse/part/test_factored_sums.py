"""Sums of weights by their factors are the sums of the weights multiplied out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.array_ops import ALIGNMENT, ArrayOps, TorchOps
from fl_sparse.model.mlp import MLPSpec
from fl_sparse.model.parameters import CLASSES as CLASS_AXIS
from fl_sparse.part import Part, PartUpdate, Reassembly, reassemble
from fl_sparse.part.factored import SUM_ROWS, FactoredSum, FactoredWeight

WIDTH, INPUTS, CLASSES = 6, 5, 3
MODEL = MLPSpec(INPUTS, (WIDTH,), CLASSES).model
OPS = {"numpy": ArrayOps, "torch": TorchOps}


def start_of(units: np.ndarray, whole: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        "hidden.0.weight": whole["hidden.0.weight"][units],
        "hidden.0.bias": whole["hidden.0.bias"][units],
        "output.weight": whole["output.weight"][:, units],
        "output.bias": whole["output.bias"],
    }


def random_values(rng: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {
        "hidden.0.weight": (WIDTH, INPUTS),
        "hidden.0.bias": (WIDTH,),
        "output.weight": (CLASSES, WIDTH),
        "output.bias": (CLASSES,),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


class Clients:
    """Updates of clients that share a few parts' received weights."""

    def __init__(self, parts: list[np.ndarray], kind: str, seed: int) -> None:
        self.rng, self.ops = np.random.default_rng(seed), OPS[kind]()
        self.whole = random_values(self.rng)
        self.parts = [Part({"hidden.0": units}) for units in parts]
        self.starts = [start_of(units, self.whole) for units in parts]

    def update(self, number: int, rows: int, weight: float, *, factored: bool = True) -> PartUpdate:
        start = self.starts[number]
        trained: dict = {
            name: values + self.rng.normal(size=values.shape).astype(np.float32) for name, values in start.items()
        }
        if factored:
            for name in ("hidden.0.weight", "output.weight"):
                left, right = (
                    self.ops.from_host(self.rng.normal(size=(rows, width)).astype(np.float32))
                    for width in start[name].shape
                )
                trained[name] = FactoredWeight(start[name], left, right, self.ops, 1.0)
        return PartUpdate(self.parts[number], trained, weight)


def multiplied(update: PartUpdate) -> PartUpdate:
    return replace(update, parameters={name: np.asarray(values) for name, values in update.parameters.items()})


PARTED = [np.array([0, 2, 4]), np.array([1, 3, 5])]
OVERLAPPING = [np.arange(4), np.arange(2, 6), np.arange(6)]


@pytest.mark.parametrize("kind", OPS)
@settings(max_examples=40, deadline=None)
@given(
    parts=st.sampled_from([[np.arange(WIDTH)], PARTED, OVERLAPPING]),
    chosen=st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 4), st.integers(1, 9), st.booleans()), min_size=1, max_size=8
    ),
    outputs=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_mean_is_that_of_the_matrices(kind: str, parts, chosen, outputs: bool, seed: int) -> None:
    clients = Clients(parts, kind, seed)
    updates = [
        clients.update(number % len(parts), rows, float(weight), factored=factored)
        for number, rows, weight, factored in chosen
    ]
    if outputs:
        updates[0] = updates[0].within(MODEL, CLASS_AXIS, np.array([0, 2]))
    found, covered = reassemble(MODEL, clients.whole, updates)
    expected, expected_covered = reassemble(MODEL, clients.whole, [multiplied(update) for update in updates])
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=2e-5, atol=2e-5)
        np.testing.assert_array_equal(covered[name], expected_covered[name])


@pytest.mark.parametrize("kind", OPS)
def test_a_single_client_is_taken_bit_for_bit(kind: str) -> None:
    clients = Clients(PARTED, kind, 0)
    updates = [clients.update(number, 3, 7.0 + number) for number in range(2)]
    found, _ = reassemble(MODEL, clients.whole, updates)
    for update, units in zip(updates, PARTED, strict=True):
        assert found["hidden.0.weight"][units].tobytes() == np.asarray(update.parameters["hidden.0.weight"]).tobytes()


@pytest.mark.parametrize("kind", OPS)
@pytest.mark.parametrize("bound", [1, 300, 10**9])
def test_how_updates_are_divided_changes_no_bit(kind: str, bound: int) -> None:
    clients = Clients(PARTED, kind, 1)
    rows = SUM_ROWS // 5 + 1
    updates = [clients.update(number % 2, rows, 1.0 + number, factored=number != 5) for number in range(24)]
    expected, _ = reassemble(MODEL, clients.whole, updates)
    sums = Reassembly(MODEL, clients.whole, bound)
    for update in updates:
        sums.add(update)
    found, _ = sums.result()
    assert all(values.tobytes() == expected[name].tobytes() for name, values in found.items())


def test_factors_are_not_multiplied_out_one_by_one(monkeypatch) -> None:
    clients = Clients([np.arange(WIDTH)], "numpy", 2)
    updates = [clients.update(0, 3, 2.0) for _ in range(9)]

    def refused(*_: object) -> None:
        raise AssertionError("a client's matrix was made")

    monkeypatch.setattr(FactoredWeight, "__array__", refused)
    reassemble(MODEL, clients.whole, updates)


def test_memory_counts_the_factors() -> None:
    update = Clients([np.arange(WIDTH)], "torch", 3).update(0, 2, 1.0)
    weight = update.parameters["hidden.0.weight"]
    assert weight.nbytes == 4 * 2 * (WIDTH + INPUTS)
    assert weight.shape == (WIDTH, INPUTS)
    assert weight.dtype == np.float32


@pytest.mark.parametrize("shares", [[1.0, 1.0, 1.0], [1.0, 3.0, 2.0]])
def test_parts_of_one_array_are_added_as_it_lies_to_the_same_bits(shares: list[float]) -> None:
    rng, ops = np.random.default_rng(4), TorchOps()
    received = rng.normal(size=(WIDTH, INPUTS)).astype(np.float32)
    left, right = (ops.from_host(rng.normal(size=(3, 7, width)).astype(np.float32)) for width in received.shape)
    before = left.clone(), right.clone()

    def mean_of(gradients, inputs) -> bytes:
        total = FactoredSum(received, ops)
        for share, one, other in zip(shares, gradients, inputs, strict=True):
            total.add(FactoredWeight(received, one, other, ops, 1.0), share)
        return total.mean().tobytes()

    assert mean_of(left, right) == mean_of([one.clone() for one in left], [one.clone() for one in right])
    assert torch.equal(left, before[0])
    assert torch.equal(right, before[1])
    swapped = np.frombuffer(mean_of([left[0], left[2], left[1]], [right[0], right[2], right[1]]), dtype=np.float32)
    weighed = sum(
        share * (left[row].T @ right[row]).numpy() for share, row in zip(shares, (0, 2, 1), strict=True)
    ) / sum(shares)
    np.testing.assert_allclose(swapped.reshape(received.shape), received + weighed, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("order", "shared"), [((0, 1, 2), True), ((1, 2), True), ((0, 2), False), ((1, 0, 2), False), ((0, 0), False)]
)
def test_only_rows_that_lie_one_behind_the_other_are_not_copied(order: tuple[int, ...], shared: bool) -> None:
    ops = TorchOps()
    stack = torch.arange(96.0).reshape(3, 4, 8)
    rows = ops.rows_of([stack[index] for index in order])
    assert torch.equal(rows, torch.cat([stack[index] for index in order]))
    assert (rows.data_ptr() == stack[order[0]].data_ptr()) is shared
    for parts in ([stack[:2, 0], stack[2:, 0]], [stack[0, 1:], stack[1]]):
        rows = ops.rows_of(parts)
        assert torch.equal(rows, torch.cat(parts))
        assert rows.data_ptr() % ALIGNMENT == 0
