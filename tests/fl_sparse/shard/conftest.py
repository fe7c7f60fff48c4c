"""Images with validity masks, made in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_sparse.errors import InputError


@dataclass(frozen=True, eq=False)
class MadeImages:
    """An image set of given pixels and validity masks; None for pixels stands for an unreadable image."""

    images: Sequence[NDArray[np.uint8] | None]
    masks: Sequence[NDArray[np.bool_] | None]
    labels: NDArray[np.int64]
    name: str = "made"
    classes: tuple[str, ...] = ("zero", "one", "two")
    ids: None = None
    fingerprint: str = "0" * 64

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        image = self.images[index]
        if image is None:
            raise InputError(f"{self.describe(index)}: not an image")
        return image

    def validity(self, index: int) -> NDArray[np.bool_] | None:
        return self.masks[index]

    def describe(self, index: int) -> str:
        return f"{self.name}, image {index}"


Make = Callable[..., MadeImages]


@pytest.fixture(scope="session")
def make_images() -> Make:
    """Return a maker of random images: ``(sizes, masks=None, seed=0)``."""

    def make(
        sizes: Sequence[tuple[int, int]], masks: Sequence[NDArray[np.bool_] | None] | None = None, seed: int = 0
    ) -> MadeImages:
        rng = np.random.default_rng(seed)
        images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
        return MadeImages(images, masks or [None] * len(sizes), rng.integers(0, 3, len(sizes)))

    return make
