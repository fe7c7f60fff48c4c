"""Cross-validation: pool a source's training and test images and hold out one stratified fold of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.data.images import ImageSet, Pixels
from fl_sparse.data.in_memory import SelectedImages
from fl_sparse.errors import InputError
from fl_sparse.rng import Purpose, generator


@dataclass(frozen=True, eq=False)
class PooledImages:
    """The training images of a source, then its test images."""

    train: ImageSet
    test: ImageSet

    @property
    def name(self) -> str:
        """Name of the pool."""
        return f"{self.train.name} and test"

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, the same in both."""
        return self.train.classes

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels, (n,) int64."""
        return np.concatenate([self.train.labels, self.test.labels])

    @property
    def ids(self) -> NDArray[Any] | None:
        """Natural client ids, if both have them."""
        if self.train.ids is None or self.test.ids is None:
            return None
        return np.concatenate([self.train.ids, self.test.ids])

    @property
    def fingerprint(self) -> str:
        """Hash of both fingerprints."""
        return hashlib.sha256(f"{self.train.fingerprint}+{self.test.fingerprint}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.train) + len(self.test)

    def pixels(self, index: int) -> Pixels:
        """Return uint8 (H, W, 3)."""
        images, place = self._place(index)
        return images.pixels(place)

    def validity(self, index: int) -> NDArray[np.bool_] | None:
        """Return bool (H, W) or None."""
        images, place = self._place(index)
        return images.validity(place)

    def describe(self, index: int) -> str:
        """Return where the image comes from."""
        images, place = self._place(index)
        return images.describe(place)

    def _place(self, index: int) -> tuple[ImageSet, int]:
        return (self.train, index) if index < len(self.train) else (self.test, index - len(self.train))


def fold_of_labels(labels: NDArray[np.int64], folds: int, *, data_seed: int) -> NDArray[np.int64]:
    """Return each image's fold, int64 (n,) from 0 to folds - 1, stratified: class by class, dealt in a drawn order.

    The deal goes on from one class to the next, so that folds differ in size by at most one, in all and in each class.
    """
    rng = generator(Purpose.SOURCE_SPLIT, data_seed, folds)
    order = np.concatenate([rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = np.arange(len(labels)) % folds
    return fold


def held_out_fold(
    train: ImageSet, test: ImageSet, *, folds: int, fold: int, data_seed: int
) -> tuple[ImageSet, ImageSet]:
    """Return (train, test) of one fold.

    Raises
    ------
    InputError
        If there are more folds than images.
    """
    pool = PooledImages(train, test)
    if folds > len(pool):
        raise InputError(f"folds = {folds}, but {train.name} and test hold {len(pool)} images")
    held = fold_of_labels(pool.labels, folds, data_seed=data_seed) == fold
    return (
        SelectedImages(f"{train.name}, without fold {fold} of {folds}", pool, np.flatnonzero(~held)),
        SelectedImages(f"{train.name}, fold {fold} of {folds}", pool, np.flatnonzero(held)),
    )
