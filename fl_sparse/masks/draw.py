"""Draw the masks of many images.

Each image has a generator of its own, seeded by (data seed, split, view, image index): the mask of an image is the
same whichever other images are asked for, and in whichever order. A shared mask is seeded by (data seed, view, owner)
and not by the split, so that test images can be seen through the masks of clients.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fl_sparse.errors import InputError
from fl_sparse.masks.rules import DRAWN, random
from fl_sparse.masks.spec import MaskSpec, kept_count
from fl_sparse.rng import Purpose, generator

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
# The owner of the one mask that all clients share; clients are 1, 2, …
_EVERYONE = 0


def draw_masks(
    spec: MaskSpec,
    grid: tuple[int, int],
    *,
    data_seed: int,
    split: Split,
    image_indices: NDArray[np.int64],
    owners: NDArray[np.int64] | None = None,
    view: int = 0,
    validity: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Return the keep masks of images.

    Parameters
    ----------
    spec
        Rule, ratio and schedule.
    grid
        Patches of an image as (rows, columns); N = rows · columns.
    data_seed
        Not negative.
    split
        The part of the data set that the images come from.
    image_indices
        int64 (n,), the images' places in the data set.
    owners
        int64 (n,), the client whose mask an image is seen through; needed when clients have a shared mask each.
    view
        Which of the V masks of an image, from 0.
    validity
        bool (n, N), True where all of a patch is valid; needed by the rule ``natural``.

    Returns
    -------
    bool (n, N)
        True where a patch is kept. Exactly K in each row, or, under ``natural``, K of the valid patches: none where
        no patch is valid.

    Raises
    ------
    InputError
        If the view does not exist, or owners or validity are needed and missing.
    """
    if not 0 <= view < spec.views:
        raise InputError(f"mask view {view}: expected 0 to {spec.views - 1}")
    if spec.rule == "natural":
        if validity is None:
            raise InputError("mask rule 'natural' needs the validity of the patches")
        return _thinned(spec, validity, data_seed, split, image_indices, view)
    keep = kept_count(grid[0] * grid[1], spec.ratio)
    rule = DRAWN[spec.rule]
    if spec.rule == "shared":
        sharers = _sharers(spec, len(image_indices), owners)
        distinct, place = np.unique(sharers, return_inverse=True)
        masks = [rule(generator(Purpose.SHARED_MASK, data_seed, view, int(owner)), grid, keep) for owner in distinct]
        return np.array(masks, dtype=np.bool_).reshape(len(distinct), grid[0] * grid[1])[place]
    kept = np.empty((len(image_indices), grid[0] * grid[1]), dtype=np.bool_)
    for row, index in enumerate(image_indices.tolist()):
        kept[row] = rule(_image_generator(data_seed, split, view, index), grid, keep)
    return kept


def cycled_owners(image_indices: NDArray[np.int64], num_clients: int) -> NDArray[np.int64]:
    """Return the client whose shared mask each test image is seen through, int64 (n,): they take turns."""
    return image_indices % num_clients


def _thinned(
    spec: MaskSpec,
    validity: NDArray[np.bool_],
    data_seed: int,
    split: Split,
    image_indices: NDArray[np.int64],
    view: int,
) -> NDArray[np.bool_]:
    """Remove the share ρ of each image's valid patches, bool (n, N) in and out."""
    kept = validity.copy()
    if spec.ratio == 0:
        return kept
    for row, index in enumerate(image_indices.tolist()):
        valid = np.flatnonzero(validity[row])
        if valid.size:
            rng = _image_generator(data_seed, split, view, index)
            kept[row, valid] = random(rng, (1, valid.size), kept_count(valid.size, spec.ratio))
    return kept


def _sharers(spec: MaskSpec, num_images: int, owners: NDArray[np.int64] | None) -> NDArray[np.int64]:
    if spec.shared_by == "all":
        return np.full(num_images, _EVERYONE, dtype=np.int64)
    if owners is None or len(owners) != num_images:
        raise InputError("mask rule 'shared' by 'client' needs the client of every image")
    return np.asarray(owners, dtype=np.int64) + 1


def _image_generator(data_seed: int, split: Split, view: int, index: int) -> np.random.Generator:
    return generator(Purpose.MASK, data_seed, SPLITS.index(split), view, index)
