"""Exact mean and variance of a federation's features, from each client's moments.

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

VARIANCE_FLOOR = 1e-6


@dataclass(frozen=True)
class Moments:
    """Number of rows, mean and sum of squared deviations (M2), float64 (F,)."""

    n: int
    mean: NDArray[np.float64] = field(repr=False)
    m2: NDArray[np.float64] = field(repr=False)


def moments_of(features: NDArray[np.float32]) -> Moments:
    """Return the moments of features (n, F), in float64, a block of rows at a time."""
    blocks = [_block(features[start : start + 4096]) for start in range(0, len(features), 4096)]
    if not blocks:
        width = features.shape[1]
        return Moments(0, np.zeros(width), np.zeros(width))
    return merge(blocks)


def _block(features: NDArray[np.float32]) -> Moments:
    rows = features.astype(np.float64)
    mean = rows.mean(axis=0)
    rows -= mean
    return Moments(len(rows), mean, np.square(rows, out=rows).sum(axis=0))


def merge(moments: Sequence[Moments]) -> Moments:
    """Return the moments of all rows together; the order of the parts decides the last bits.

    Raises
    ------
    ValueError
        If there is nothing to merge.
    """
    present = [part for part in moments if part.n > 0]
    if not present:
        raise ValueError("there are no rows to take moments of")
    merged = present[0]
    for part in present[1:]:
        n = merged.n + part.n
        apart = part.mean - merged.mean
        mean = merged.mean + apart * (part.n / n)
        merged = Moments(n, mean, merged.m2 + part.m2 + np.square(apart) * (merged.n * part.n / n))
    return merged


@dataclass(frozen=True)
class Standardizer:
    """Mean and inverse standard deviation, float32 (F,): x ↦ (x − mean)·inverse_std."""

    mean: NDArray[np.float32] = field(repr=False)
    inverse_std: NDArray[np.float32] = field(repr=False)

    @classmethod
    def of(cls, moments: Moments) -> Standardizer:
        """Return the standardizer of moments; variances below 1e-6 count as 1e-6."""
        variance = np.maximum(moments.m2 / moments.n, VARIANCE_FLOOR)
        return cls(moments.mean.astype(np.float32), (1.0 / np.sqrt(variance)).astype(np.float32))

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return standardised features float32 (n, F), a new array."""
        centred = features - self.mean
        centred *= self.inverse_std
        return centred
