"""Accuracy at equal bytes, read from a run's records."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.__main__ import main
from experiments.compare.budgets import best_within, bytes_so_far, round_budgets
from server.records import RoundRecord, summarize

ACCURACIES = st.one_of(st.none(), st.integers(0, 20).map(lambda n: n / 20))
ROUNDS = st.lists(st.tuples(ACCURACIES, st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12)


def records_of(rounds: list[tuple[float | None, int, int]]) -> list[RoundRecord]:
    return [
        RoundRecord(number, validation_accuracy=found, test_accuracy=found, bytes_down=down, bytes_up=up)
        for number, (found, down, up) in enumerate(rounds)
    ]


@given(ROUNDS, st.integers(0, 220), st.integers(0, 1))
def test_the_round_is_the_best_of_those_paid_for(rounds, budget: int, first: int) -> None:
    records = records_of(rounds)
    expected, spent = None, 0
    for record in records:  # slowly, in order
        spent += record.bytes_down + record.bytes_up
        if spent > budget or record.round < first or record.validation_accuracy is None:
            continue
        if expected is None or record.validation_accuracy > expected.validation_accuracy:
            expected = record
    assert best_within(records, budget, first=first) == expected
    assert bytes_so_far(records)[-1] == spent


@given(ROUNDS)
def test_with_bytes_enough_it_is_the_summary(rounds) -> None:
    records = records_of(rounds)
    found, summary = best_within(records, 1e9, first=0), summarize(records)
    assert (None if found is None else found.round) == summary["chosen_round"]


@given(st.floats(1e-3, 1e6), st.floats(1, 1e5))
def test_budgets_are_1_2_and_5_and_reach_above_the_most(least: float, times: float) -> None:
    found = round_budgets(least, least * times)
    assert {f"{budget:e}"[0] for budget in found} <= {"1", "2", "5"}
    assert {f"{budget:e}"[1:8] for budget in found} <= {".000000"}
    assert all(budget >= least for budget in found)
    assert found[-1] >= least * times
    assert all(budget < least * times for budget in found[:-1])
    assert all(1.9 < after / before < 2.6 for before, after in itertools.pairwise(found))


def test_nothing_was_sent() -> None:
    assert round_budgets(0.0, 5.0) == []
    assert best_within([], 5.0) is None


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_comparison_tells_the_accuracy_at_equal_bytes(tiny_encoder: str, tmp_path: Path) -> None:
    keys = [f"encoder={tiny_encoder}", "hidden-widths=24,20", "num-server-rounds=6", "local-steps=1", "batch-size=16"]
    out = tmp_path / "grid"
    overrides = [part for text in keys for part in ("-c", text)]
    varied = ["--vary", "strategy=ist,fedavg", "--vary", "init=uniform,ridge"]
    assert main(["compare", "demo", *overrides, *varied, "--seeds", "2", "--out", str(out)]) == 0
    found = rows(out / "budgets.csv")
    assert {(row["strategy"], row["init"]) for row in found} == {
        (s, i) for s in ("ist", "fedavg") for i in ("uniform", "ridge")
    }
    for row in found:
        cells = [out / "cells" / f"demo_strategy={row['strategy']}_init={row['init']}_seed={seed}" for seed in (0, 1)]
        reached = []
        for cell in cells:
            spent, best = 0, None
            for line in (cell / "metrics.jsonl").read_text().splitlines():
                record = json.loads(line)
                spent += record["bytes_down"] + record["bytes_up"]
                trained = record["round"] > 0 or row["init"] == "ridge"
                if spent <= 1e6 * float(row["megabytes"]) and trained:
                    best = max(
                        best or (-1.0, 0.0),
                        (record["validation_accuracy"], record["test_accuracy"]),
                        key=lambda e: e[0],
                    )
            reached.append(best[1])
        assert float(row["accuracy_mean"]) == pytest.approx(sum(reached) / 2)
        assert row["seeds"] == "2"
        assert float(row["megabytes_spent"]) <= float(row["megabytes"])
    last = max(float(row["megabytes"]) for row in found)
    at_last = {(row["strategy"], row["init"]): row for row in found if float(row["megabytes"]) == last}
    for line in rows(out / "summary.csv"):
        whole = at_last[line["strategy"], line["init"]]
        assert float(whole["accuracy_mean"]) == pytest.approx(float(line["accuracy_mean"]))
