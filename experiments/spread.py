"""Mean and spread over seeds, with the 95 % interval of the mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Mean, sample deviation and half of the mean's 95 % interval (both None for one value), lowest and highest."""

    mean: float
    deviation: float | None
    half: float | None
    lowest: float
    highest: float


def spread(values: Sequence[float]) -> Spread:
    """Return mean and spread of one or more values; the interval is that of Student's t."""
    from scipy.special import stdtrit  # here: its import takes longer than a command's --help should

    array = np.asarray(values, dtype=np.float64)
    count = len(array)
    deviation = float(array.std(ddof=1)) if count > 1 else None
    half = None if deviation is None else float(stdtrit(count - 1, 0.975)) * deviation / math.sqrt(count)
    return Spread(float(array.mean()), deviation, half, float(array.min()), float(array.max()))
