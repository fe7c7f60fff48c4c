"""Laws of single methods beyond the contract, and what the registry refuses."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.__main__ import main
from fl_sparse.config import RunConfig
from fl_sparse.features.statistics import FeatureStatistics
from fl_sparse.wire import ClientDescription
from strategies.methods.fedrolex import window
from strategies.registry import assignment_rule
from strategies.round.groups import Placement, by_position
from tests.strategies.cohort_of_five import units as held_units


def place(name: str, number: int, *capacities: float, **keys) -> list[Placement]:
    nothing = FeatureStatistics(0, np.zeros(1), np.zeros(1))
    clients = [ClientDescription(k, 1, 1, ("a",), capacity, nothing, "") for k, capacity in enumerate(capacities)]
    groups = assignment_rule(RunConfig(strategy=name, hidden_widths="40,30", **keys)).place(number, clients)
    return [group.placement for group in by_position(groups)]


def units(placement: Placement) -> list[list[int]]:
    return [layer.tolist() for layer in held_units(placement.part, (40, 30))]


@given(width=st.integers(1, 50), share=st.floats(0.02, 1.0), start=st.integers(0, 200))
def test_fedrolex_trains_every_unit_equally_often(width: int, share: float, start: int) -> None:
    held = [window(width, share, j) for j in range(start, start + width)]
    sizes = {len(part) for part in held}
    assert len(sizes) == 1
    counts = np.bincount(np.concatenate(held), minlength=width)
    assert set(counts.tolist()) == sizes


@given(first=st.floats(0.01, 1.0), second=st.floats(0.01, 1.0), number=st.integers(1, 9))
def test_heterofls_slices_are_nested_and_stand_still(first: float, second: float, number: int) -> None:
    narrow, wide = (units(p) for p in place("heterofl", number, *sorted([first, second])))
    assert all(set(one) <= set(other) for one, other in zip(narrow, wide, strict=True))
    assert narrow == units(place("heterofl", number + 1, min(first, second))[0])


def test_federated_dropout_draws_by_seed_round_client_and_layer() -> None:
    one, other = place("federated-dropout", 1, 0.5, 0.5)
    (again,) = place("federated-dropout", 1, 0.5)
    assert units(one) == units(again)
    changed = [units(other), units(place("federated-dropout", 2, 0.5)[0])]
    changed.append(units(place("federated-dropout", 1, 0.5, seed=1)[0]))
    assert all(drawn != units(one) for drawn in changed)
    assert units(one)[0][:15] != units(one)[1]


def test_federated_dropout_meets_all_units_equally_in_the_long_run() -> None:
    counts = sum(np.bincount(units(place("federated-dropout", n, 0.25)[0])[0], minlength=40) for n in range(400))
    assert counts.sum() == 400 * 10
    # Each unit is held 100 times on average, with a standard deviation of 8.7.
    assert np.abs(counts - 100).max() < 40


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["strategy=fedavg", "num-subnets=8"], "num-subnets = 8: strategy 'fedavg' does not take it; it is for ist"),
        (["strategy=ist", "self-distillation=true"], "self-distillation = true: strategy 'ist' does not take it"),
        (["strategy=fedadam"], "set server-optimizer = 'adam' beside strategy = 'fedavg' or any other"),
        (["strategy=hetrofl"], "did you mean 'heterofl'?"),
        (["strategy=fedprox"], "expected a positive number"),
        (["server-beta2=0.5"], "server-beta2 = 0.5: server-optimizer 'average' has none; it is for adam, yogi"),
        (["capacities=1,2"], "capacities = '1,2' is out of range"),
        (["dropout-probability=1"], "dropout-probability = 1.0 is out of range; expected 0 to below 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line(keys: list[str], words: str, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", *[part for key in keys for part in ("-c", key)]]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
