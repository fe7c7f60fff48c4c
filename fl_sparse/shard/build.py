"""From images to a shard: resize, cut, and keep what the masks show."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fl_sparse.data.images import ImageSet, resize_pixels
from fl_sparse.errors import InputError
from fl_sparse.masks.draw import Split, draw_masks
from fl_sparse.masks.natural import patch_validity
from fl_sparse.masks.spec import MaskSpec
from fl_sparse.patches import grid, patchify
from fl_sparse.shard.image_shard import ImageShard, ShardHeader, index_type, sealed


def build_shard(
    images: ImageSet,
    rows: NDArray[np.int64],
    *,
    mask: MaskSpec,
    image_size: int,
    patch_size: int,
    data_seed: int,
    split: Split,
    owners: NDArray[np.int64] | None = None,
    progress: Callable[[], None] | None = None,
) -> ImageShard:
    """Return the visible patches of some images of a data set.

    The shard depends on no pixel that its masks hide: a drawn mask hides pixels of the resized image, a natural one
    every invalid pixel of the source.

    Parameters
    ----------
    images
        The data set.
    rows
        int64 (n,), the images' places in the data set. Under ``natural``, images without a valid patch are left out
        and counted in the header.
    mask, data_seed, split, owners
        As in `fl_sparse.masks.draw.draw_masks`.
    image_size, patch_size
        Of the resized image, in pixels.
    progress
        Called after each image.

    Raises
    ------
    InputError
        If the sizes do not fit each other, an image cannot be read, or no image is left.
    """
    shape = grid(image_size, patch_size)
    num_patches = shape[0] * shape[1]
    rows = np.asarray(rows, dtype=np.int64)
    asked = len(rows)
    validity = None
    if mask.rule == "natural":
        validity = _validity(images, rows, image_size, patch_size)
        usable = validity.any(axis=1)
        rows, validity = rows[usable], validity[usable]
        owners = None if owners is None else owners[usable]
    if not len(rows):
        raise InputError(f"{images.name}: none of {asked} images has a valid patch")
    masks = np.stack(
        [
            draw_masks(
                mask,
                shape,
                data_seed=data_seed,
                split=split,
                image_indices=rows,
                owners=owners,
                view=view,
                validity=validity,
            )
            for view in range(mask.views)
        ]
    )
    offsets = np.concatenate([[0], np.cumsum(masks.sum(axis=2).reshape(-1))]).astype(np.int64)
    header = ShardHeader(
        image_size=image_size,
        patch_size=patch_size,
        mask=mask,
        data_seed=data_seed,
        split=split,
        classes=tuple(images.classes),
        source=images.name,
        left_out=asked - len(rows),
        exposed=float(masks.any(axis=0).mean()),
    )
    patches = np.empty((int(offsets[-1]), header.patch_values), dtype=np.uint8)
    for place, row in enumerate(rows.tolist()):
        image = patchify(resize_pixels(images.pixels(row), image_size)[None], patch_size)[0]
        for view in range(mask.views):
            start = view * len(rows) + place
            patches[offsets[start] : offsets[start + 1]] = image[masks[view, place]]
        if progress:
            progress()
    kept = np.broadcast_to(np.arange(num_patches, dtype=index_type(num_patches)), masks.shape)[masks]
    return sealed(ImageShard(patches, kept, offsets, images.labels[rows].astype(np.int64), rows, header))


def _validity(images: ImageSet, rows: NDArray[np.int64], image_size: int, patch_size: int) -> NDArray[np.bool_]:
    """Return which patches of the resized images are valid, bool (n, N)."""
    shape = grid(image_size, patch_size)
    valid = np.ones((len(rows), shape[0] * shape[1]), dtype=np.bool_)
    for place, row in enumerate(rows.tolist()):
        pixels = images.validity(row)
        if pixels is not None:
            valid[place] = patch_validity(pixels, image_size, patch_size)
    return valid
