"""Images decoded once and kept in memory, as far as a budget allows."""

import numpy as np
from numpy.typing import NDArray

from fl_sparse.pretraining.crops import PixelSource

BUDGET = 4 << 30
"""Bytes of pixels kept."""


class DecodedImages:
    """A source whose images are decoded at their first use only; those beyond the budget at each use.

    Parameters
    ----------
    images
        The source.
    count
        How many of its first images are used.
    budget
        Bytes of pixels kept in memory.
    """

    def __init__(self, images: PixelSource, count: int, *, budget: int = BUDGET) -> None:
        self._images = images
        self._count = count
        self._left = budget
        self._kept: dict[int, NDArray[np.uint8]] = {}

    @property
    def fingerprint(self) -> str:
        """The source's, and how many images of it are used."""
        return f"{self._images.fingerprint} {self._count}"

    def __len__(self) -> int:
        """Return the number of images used."""
        return self._count

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Return image ``index`` as RGB uint8 (H, W, 3)."""
        found = self._kept.get(index)
        if found is None:
            found = self._images.pixels(index)
            if found.nbytes <= self._left:
                self._left -= found.nbytes
                self._kept[index] = found
        return found
