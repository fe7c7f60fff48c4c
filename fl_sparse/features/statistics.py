"""Exact mean and variance of a federation's features, from each client's statistics.

References
----------
T. F. Chan, G. H. Golub, R. J. LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, 1979,
equation 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fl_sparse.threads import in_threads

VARIANCE_FLOOR = 1e-6
BLOCK_ROWS = 4096
"""Rows whose statistics are taken at once."""


@dataclass(frozen=True)
class FeatureStatistics:
    """Number of rows, mean and sum of squared deviations (M2), float64 (F,)."""

    n: int
    mean: NDArray[np.float64] = field(repr=False)
    m2: NDArray[np.float64] = field(repr=False)


def statistics_of(features: NDArray[np.float32], rows: NDArray[np.int64] | None = None) -> FeatureStatistics:
    """Return the statistics of features (n, F), or of some of its rows, in float64, a block of rows a thread."""
    count = len(features) if rows is None else len(rows)
    if not count:
        width = features.shape[1]
        return FeatureStatistics(0, np.zeros(width), np.zeros(width))
    blocks: list[FeatureStatistics | None] = [None] * -(-count // BLOCK_ROWS)

    def part(numbers: slice) -> None:
        for number in range(numbers.start, numbers.stop):
            some = slice(number * BLOCK_ROWS, min((number + 1) * BLOCK_ROWS, count))
            blocks[number] = _block(features[some] if rows is None else features[rows[some]])

    in_threads(part, len(blocks), work=count * features.shape[1])
    # However the blocks were divided over threads, they are merged in their order.
    return merge([block for block in blocks if block is not None])


def _block(features: NDArray[np.float32]) -> FeatureStatistics:
    rows = features.astype(np.float64)
    mean = rows.mean(axis=0)
    rows -= mean
    return FeatureStatistics(len(rows), mean, np.square(rows, out=rows).sum(axis=0))


def merge(statistics: Sequence[FeatureStatistics]) -> FeatureStatistics:
    """Return the statistics of all rows together; the order of the parts decides the last bits.

    Raises
    ------
    ValueError
        If there is nothing to merge.
    """
    running = RunningStatistics(len(statistics[0].mean) if statistics else 0)
    for part in statistics:
        running.add(part)
    return running.statistics()


class RunningStatistics:
    """FeatureStatistics of parts that come one after the other; nothing but their merger is kept.

    Parameters
    ----------
    width
        F.
    """

    def __init__(self, width: int) -> None:
        self._n = 0
        self._mean, self._m2 = np.zeros(width), np.zeros(width)
        self._apart, self._scratch = np.empty(width), np.empty(width)

    def add(self, part: FeatureStatistics) -> None:
        """Merge a part; one without rows changes nothing."""
        if part.n:
            self.add_all(part.n, part.mean[None], part.m2[None])

    def add_all(self, n: int, means: NDArray[np.float64], m2s: NDArray[np.float64]) -> None:
        """Merge parts of n rows each, in their order: float64 (parts, F) each."""
        apart, scratch = self._apart, self._scratch
        for mean, m2 in zip(means, m2s, strict=True):
            if not self._n:
                self._n = n
                self._mean[...], self._m2[...] = mean, m2
                continue
            total = self._n + n
            np.subtract(mean, self._mean, out=apart)
            np.multiply(apart, n / total, out=scratch)
            self._mean += scratch
            np.square(apart, out=apart)
            apart *= self._n * n / total
            self._m2 += m2
            self._m2 += apart
            self._n = total

    def statistics(self) -> FeatureStatistics:
        """Return the statistics of all parts together.

        Raises
        ------
        ValueError
            If no part had a row.
        """
        if not self._n:
            raise ValueError("there are no rows to take statistics of")
        return FeatureStatistics(self._n, self._mean.copy(), self._m2.copy())


@dataclass(frozen=True)
class Standardizer:
    """Mean and inverse standard deviation, float32 (F,): x ↦ (x − mean)·inverse_std."""

    mean: NDArray[np.float32] = field(repr=False)
    inverse_std: NDArray[np.float32] = field(repr=False)

    @classmethod
    def of(cls, statistics: FeatureStatistics) -> Standardizer:
        """Return the standardizer of statistics; variances below 1e-6 count as 1e-6."""
        variance = np.maximum(statistics.m2 / statistics.n, VARIANCE_FLOOR)
        return cls(statistics.mean.astype(np.float32), (1.0 / np.sqrt(variance)).astype(np.float32))

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return standardised features float32 (n, F), a new array."""
        centred = np.empty(features.shape, dtype=np.float32)

        def part(rows: slice) -> None:
            np.subtract(features[rows], self.mean, out=centred[rows])
            np.multiply(centred[rows], self.inverse_std, out=centred[rows])

        in_threads(part, len(features), work=features.size)
        return centred
