"""Image sets that are views: pixels already in an array, or some rows of another set."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.data.images import ImageSet, Pixels
from fl_sparse.data.stratified import stratified_split
from fl_sparse.rng import Purpose, generator


@dataclass(frozen=True, eq=False)
class ArrayImages:
    """Images of one size in an array.

    Attributes
    ----------
    values
        uint8 (n, H, W) grey or (n, H, W, 3) RGB; may be memory-mapped.
    """

    name: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    fingerprint: str
    values: NDArray[np.uint8]
    ids: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, index: int) -> Pixels:
        """Return uint8 (H, W, 3)."""
        image = self.values[index]
        return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image

    def validity(self, index: int) -> None:
        """Return None: every pixel is valid."""

    def describe(self, index: int) -> str:
        """Return set and row."""
        return f"{self.name}, image {index}"


@dataclass(frozen=True, eq=False)
class SelectedImages:
    """Some images of another set, in the order of `rows`."""

    name: str
    source: ImageSet
    rows: NDArray[np.int64]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the source."""
        return self.source.classes

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels of the selected images, (n,) int64."""
        return self.source.labels[self.rows]

    @property
    def ids(self) -> NDArray[Any] | None:
        """Natural client ids of the selected images."""
        return None if self.source.ids is None else self.source.ids[self.rows]

    @property
    def fingerprint(self) -> str:
        """Hash of the source's fingerprint and the rows."""
        return hashlib.sha256(self.source.fingerprint.encode() + self.rows.astype("<i8").tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.rows)

    def pixels(self, index: int) -> Pixels:
        """Return uint8 (H, W, 3)."""
        return self.source.pixels(int(self.rows[index]))

    def validity(self, index: int) -> NDArray[np.bool_] | None:
        """Return bool (H, W) or None."""
        return self.source.validity(int(self.rows[index]))

    def describe(self, index: int) -> str:
        """Return where the source has it."""
        return self.source.describe(int(self.rows[index]))


def drawn_test_split(
    images: ImageSet, name: str, *, data_seed: int, test_share: float
) -> tuple[SelectedImages, SelectedImages]:
    """Split a set that has no test images of its own, stratified.

    Parameters
    ----------
    images
        The whole set.
    name
        The data set's name; the parts are called ``name train`` and ``name test``.
    data_seed
        Seed of the draw.
    test_share
        Share of the images held out.

    Raises
    ------
    InputError
        If a part would be empty.
    """
    held_out = round(len(images) * test_share)
    train, test = stratified_split(images.labels, held_out, generator(Purpose.SOURCE_SPLIT, data_seed))
    return SelectedImages(f"{name} train", images, train), SelectedImages(f"{name} test", images, test)
