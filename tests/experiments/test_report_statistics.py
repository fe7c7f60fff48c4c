"""The report's numbers: front, intervals, units."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.report.pareto import front
from experiments.report.units import quantity
from experiments.spread import spread


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_the_front_holds_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    kept = front(points)
    best = [point for point, on in zip(points, kept, strict=True) if on]
    assert best
    for sent, accuracy in best:
        assert not any((s < sent and a >= accuracy) or (s <= sent and a > accuracy) for s, a in points)
    for point, on in zip(points, kept, strict=True):
        if not on:
            assert any(s <= point[0] and a >= point[1] for s, a in best)


def test_the_interval_is_students() -> None:
    """Quantiles of Student's t at 0.975 for 1 and 2 degrees of freedom, from the printed tables."""
    assert spread([0.4]).half is None
    assert spread([0.0, 2.0]).half == pytest.approx(12.7062, rel=1e-5)
    assert spread([1.0, 2.0, 3.0]).half == pytest.approx(4.30265 / np.sqrt(3), rel=1e-5)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(0.0, "B", "0 B"), (999.0, "B", "999 B"), (7_034_000.0, "B", "7.03 MB"), (4.89e9, "FLOP", "4.89 GFLOP")],
)
def test_quantities_have_three_digits(value: float, unit: str, shown: str) -> None:
    assert quantity(value, unit) == shown
