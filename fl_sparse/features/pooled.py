"""What is stored of an image's tokens, and which part of it the MLP reads."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Features:
    """Class token and mean of the kept tokens after the final norm, float32 (V, n, D) each."""

    cls: NDArray[np.float32] = field(repr=False)
    mean: NDArray[np.float32] = field(repr=False)


def pool(features: Features, pooling: str) -> NDArray[np.float32]:
    """Return float32 (V, n, F): ``cls`` or ``mean`` (F = D), or ``both`` side by side (F = 2D)."""
    if pooling == "both":
        return np.concatenate([features.cls, features.mean], axis=-1)
    return {"cls": features.cls, "mean": features.mean}[pooling]
