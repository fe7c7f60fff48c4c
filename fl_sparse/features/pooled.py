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
    """Class tokens and means of the kept patches' tokens, float32 (V, n, D) each."""

    cls: NDArray[np.float32] = field(repr=False)
    mean: NDArray[np.float32] = field(repr=False)


def pool(features: Features, pooling: str) -> NDArray[np.float32]:
    """Return float32 (V, n, F): ``cls``, ``mean``, or ``both`` side by side in this order.

    A single pooling is not copied, and stays memory-mapped if it was.

    Raises
    ------
    InputError
        For an unknown pooling.
    """
    if pooling not in POOLINGS:
        raise InputError(f"unknown pooling {pooling!r}{nearest(pooling, POOLINGS)}")
    if pooling == "both":
        return np.concatenate([features.cls, features.mean], axis=2)
    return features.cls if pooling == "cls" else features.mean
