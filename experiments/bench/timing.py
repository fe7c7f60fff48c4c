"""Repeats, medians and ratios: what is compared is run in turn, A, B, A, B, so that a slow minute hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Timing:
    """Durations of one thing, in seconds: the first, which pays for what later ones find ready, and the steady ones."""

    first: float
    steady: tuple[float, ...] = field(repr=False)

    def quartiles(self) -> tuple[float, float, float]:
        """Return the lower quartile, the median and the upper quartile of the steady ones."""
        low, median, high = np.quantile(self.steady, (0.25, 0.5, 0.75)).tolist()
        return low, median, high

    @property
    def median(self) -> float:
        """The median of the steady ones."""
        return self.quartiles()[1]


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians, with the quartiles of the ratios of what ran next to each other."""

    value: float
    low: float
    high: float


def interleaved(variants: Mapping[str, Callable[[], object]], *, repeats: int, warm_up: int = 1) -> dict[str, Timing]:
    """Time each variant in turn.

    Parameters
    ----------
    variants
        Name -> what to time. The first call of each is its ``first``.
    repeats
        Timed calls of each.
    warm_up
        Calls of each between its first and the timed ones.
    """
    lasted: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(1 + warm_up + repeats):
        for name, work in variants.items():
            began = time.perf_counter()
            work()
            lasted[name].append(time.perf_counter() - began)
    return {name: Timing(times[0], tuple(times[1 + warm_up :])) for name, times in lasted.items()}


def ratio(of: Timing, to: Timing) -> Ratio:
    """Return how many times as long ``of`` takes as ``to``.

    Both were run in turn: the i-th of one next to the i-th of the other. If they differ in number, the spread is of
    each of ``of`` over the median of ``to``.
    """
    beside = np.asarray(to.steady if len(of.steady) == len(to.steady) else [to.median] * len(of.steady))
    low, high = np.quantile(np.asarray(of.steady) / beside, (0.25, 0.75)).tolist()
    return Ratio(of.median / to.median, low, high)
