"""An image's feature vector: the encoder's class token, the mean of its kept tokens, or both.

Symbols: V views, n images, D feature width, F = D or 2 D.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fl_sparse.errors import InputError, nearest

POOLINGS = ("cls", "mean", "both")


@dataclass(frozen=True)
class Features:
    """Class tokens and means of the kept patches' tokens, side by side: float32 (V, n, 2 D).

    All three poolings are views of one array, so that none costs a copy, and stay memory-mapped if it was.
    """

    both: NDArray[np.float32] = field(repr=False)

    @classmethod
    def of(cls, tokens: NDArray[np.float32], means: NDArray[np.float32]) -> Features:
        """Join class tokens and means, float32 (V, n, D) each."""
        return cls(np.concatenate([tokens, means], axis=2))

    @property
    def cls(self) -> NDArray[np.float32]:
        """Class tokens, (V, n, D)."""
        return self.both[..., : self.both.shape[-1] // 2]

    @property
    def mean(self) -> NDArray[np.float32]:
        """Means of the kept patches' tokens, (V, n, D)."""
        return self.both[..., self.both.shape[-1] // 2 :]


def pool(features: Features, pooling: str) -> NDArray[np.float32]:
    """Return float32 (V, n, F): ``cls``, ``mean``, or ``both`` side by side in this order.

    Nothing is copied.

    Raises
    ------
    InputError
        For an unknown pooling.
    """
    if pooling not in POOLINGS:
        raise InputError(f"unknown pooling {pooling!r}{nearest(pooling, POOLINGS)}")
    if pooling == "both":
        return features.both
    return features.cls if pooling == "cls" else features.mean
