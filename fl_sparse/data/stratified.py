"""Splits that keep every class's share."""

import numpy as np
from numpy.typing import NDArray

from fl_sparse.errors import InputError
from fl_sparse.rng import Purpose, generator

Rows = NDArray[np.int64]


def stratified_split(labels: Rows, num_held_out: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Hold out examples, each class in proportion to its size by the largest remainder.

    Parameters
    ----------
    labels
        int64 (n,).
    num_held_out
        Examples to hold out. A class never loses its last example, so fewer are held out if classes are tiny.
    rng
        Draws which examples of a class are held out.

    Returns
    -------
    rest, held_out: sorted int64 rows, disjoint, covering all.

    Raises
    ------
    InputError
        If a part would be empty.
    """
    classes, counts = np.unique(labels, return_counts=True)
    quotas = counts * (num_held_out / max(1, len(labels)))
    taken = np.minimum(np.floor(quotas).astype(np.int64), counts - 1)
    order = np.argsort(-(quotas - np.floor(quotas)), kind="stable")
    for position in order[taken[order] < counts[order] - 1][: num_held_out - int(taken.sum())]:
        taken[position] += 1
    held_out = np.zeros(len(labels), dtype=bool)
    for label, number in zip(classes, taken, strict=True):
        held_out[rng.permutation(np.flatnonzero(labels == label))[:number]] = True
    if held_out.all() or not held_out.any():
        raise InputError(
            f"cannot hold out {num_held_out} of {len(labels)} images in {len(classes)} classes: "
            "expected a class of two images or more, and at least one image on each side"
        )
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def validation_split(labels: Rows, *, data_seed: int, share: float = 0.1) -> tuple[Rows, Rows]:
    """Split training images into those for clients and the server's validation images.

    Parameters
    ----------
    labels
        int64 (n,), the training labels.
    data_seed
        Seed of the draw.
    share
        Share held out, in (0, 1); at least one image is.

    Returns
    -------
    train_rows, validation_rows: sorted int64 rows, disjoint, covering all.

    Raises
    ------
    InputError
        If the share is out of range or a part would be empty.
    """
    if not 0 < share < 1:
        raise InputError(f"validation share {share}: expected a number between 0 and 1")
    return stratified_split(labels, max(1, round(len(labels) * share)), generator(Purpose.VALIDATION, data_seed))


def training_subset(labels: Rows, size: int, *, data_seed: int) -> Rows:
    """Choose the training images that a run uses, each class in proportion to its size.

    Parameters
    ----------
    labels
        int64 (n,), the training labels.
    size
        Images to use, 0 for all.
    data_seed
        Seed of the draw.

    Returns
    -------
    Sorted int64 rows.

    Raises
    ------
    InputError
        If there are fewer images, or too few are wanted to cover any class.
    """
    if size > len(labels):
        raise InputError(f"train-images = {size}, but there are {len(labels)} training images")
    if size in (0, len(labels)):
        return np.arange(len(labels), dtype=np.int64)
    return stratified_split(labels, size, generator(Purpose.TRAIN_SUBSET, data_seed))[1]
