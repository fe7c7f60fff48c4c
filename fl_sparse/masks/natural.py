"""From valid source pixels to valid patches of the resized image.

A patch is valid only if every source pixel that its resized pixels are computed from is valid. What these are follows
Pillow's bicubic filter (``precompute_coeffs`` in its ``Resample.c``): with scale s = source / resized size and
f = max(s, 1), output pixel x weighs source pixel u by the cubic kernel (a = −1/2) at (u + ½ − (x + ½)s) / f, over the
window from ⌊(x + ½)s − 2f + ½⌋ to ⌊(x + ½)s + 2f + ½⌋, cut at the border. Rows and columns are resampled one after the
other, so the support of a patch is a product of two sets. Zero weights are no part of it; an axis that keeps its size
is copied.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from fl_sparse.patches import grid

_KERNEL_RADIUS = 2.0


def patch_validity(validity: NDArray[np.bool_], image_size: int, patch_size: int) -> NDArray[np.bool_]:
    """Return which patches of the resized image come from valid pixels alone.

    Parameters
    ----------
    validity
        bool (H, W), True where a pixel of the source is valid.
    image_size, patch_size
        Of the resized image, in pixels.

    Returns
    -------
    bool (N,)
    """
    rows, columns = grid(image_size, patch_size)
    height, width = validity.shape
    row_support = _patch_support(height, image_size, rows)
    column_support = _patch_support(width, image_size, columns)
    # Counts of invalid pixels; float32 holds them exactly up to 2^24 and multiplies far faster than integers.
    invalid = row_support @ (~validity).astype(np.float32) @ column_support.T
    valid: NDArray[np.bool_] = (invalid == 0).reshape(-1)
    return valid


def resampling_support(source_size: int, resized_size: int) -> NDArray[np.bool_]:
    """Return which source pixels each resized pixel depends on along one axis, bool (resized, source)."""
    if source_size == resized_size:
        return np.eye(source_size, dtype=np.bool_)
    scale = source_size / resized_size
    stretch = max(scale, 1.0)
    radius = _KERNEL_RADIUS * stretch
    centres = (np.arange(resized_size)[:, None] + 0.5) * scale
    first = np.maximum(0, np.trunc(centres - radius + 0.5))
    last = np.minimum(source_size, np.trunc(centres + radius + 0.5))
    places = np.arange(source_size)[None, :]
    # In Pillow's order of operations, for the same roundings: a weight may be zero in one order and 1e-16 in another.
    weights = _cubic((places - centres + 0.5) * (1.0 / stretch))
    support: NDArray[np.bool_] = (places >= first) & (places < last) & (weights != 0)
    return support


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Pillow's bicubic kernel (Keys 1981, a = −1/2) at distances in units of the stretched pixel."""
    x, a = np.abs(distance), -0.5
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


@functools.lru_cache(maxsize=64)
def _patch_support(source_size: int, resized_size: int, patches: int) -> NDArray[np.float32]:
    """Return which source pixels each row (or column) of patches depends on, 0 or 1, float32 (patches, source)."""
    support = resampling_support(source_size, resized_size)
    by_patch = support.reshape(patches, resized_size // patches, source_size)
    return np.asarray(by_patch.any(axis=1), dtype=np.float32)
