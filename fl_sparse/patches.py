"""An image as a sequence of square patches, and back.

Shapes: n images · H = W = image size in pixels · p patch size in pixels · N = (H/p)·(W/p) patches, row by row ·
P = 3·p² values in a patch, ordered (row, column, channel).
"""

import numpy as np
from numpy.typing import NDArray

from fl_sparse.errors import InputError

CHANNELS = 3


def grid(image_size: int, patch_size: int) -> tuple[int, int]:
    """Return the patches of an image as (rows, columns).

    Raises
    ------
    InputError
        If either size is not positive, or the patch size does not divide the image size.
    """
    if image_size < 1 or patch_size < 1:
        raise InputError(f"image size {image_size} and patch size {patch_size}: both must be at least 1 pixel")
    if image_size % patch_size:
        raise InputError(f"image size {image_size} is not a multiple of the patch size {patch_size}")
    return image_size // patch_size, image_size // patch_size


def patchify(images: NDArray[np.uint8], patch_size: int) -> NDArray[np.uint8]:
    """Cut images into patches.

    Parameters
    ----------
    images
        uint8 (n, H, W, 3).
    patch_size
        p, in pixels; must divide H and W.

    Returns
    -------
    uint8 (n, N, P)
    """
    count, height, width, channels = images.shape
    if height % patch_size or width % patch_size:
        raise InputError(f"images of {height}×{width} pixels do not divide into patches of {patch_size}")
    rows, columns = height // patch_size, width // patch_size
    tiles = images.reshape(count, rows, patch_size, columns, patch_size, channels).transpose(0, 1, 3, 2, 4, 5)
    return tiles.reshape(count, rows * columns, patch_size * patch_size * channels)


def unpatchify(patches: NDArray[np.uint8], patch_size: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Put patches back together: the inverse of `patchify`.

    Parameters
    ----------
    patches
        uint8 (n, N, P).
    patch_size
        p, in pixels.
    shape
        Patches of an image as (rows, columns).

    Returns
    -------
    uint8 (n, H, W, 3)
    """
    rows, columns = shape
    tiles = patches.reshape(len(patches), rows, columns, patch_size, patch_size, CHANNELS)
    return tiles.transpose(0, 1, 3, 2, 4, 5).reshape(len(patches), rows * patch_size, columns * patch_size, CHANNELS)
