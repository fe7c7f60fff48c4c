"""Random crops and flips, drawn for a whole batch and cut with antialiased bicubic resampling."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

ASPECT = (3 / 4, 4 / 3)
"""Range of a crop's width over its height, drawn evenly on a logarithmic scale."""


class PixelSource(Protocol):
    """Anything with images: `fl_sparse.data`'s image sets are."""

    @property
    def fingerprint(self) -> str:
        """What tells one set of images from another."""

    def __len__(self) -> int:
        """Return the number of images."""

    def pixels(self, index: int, /) -> NDArray[np.uint8]:
        """Return image ``index`` as RGB (H, W, 3)."""


def crop_boxes(
    rng: np.random.Generator, sizes: NDArray[np.int64], smallest: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Draw a crop box and a flip per image.

    Parameters
    ----------
    rng
        Generator of this step.
    sizes
        (B, 2) heights and widths in pixels.
    smallest
        Smallest share of the area kept; 1 keeps the whole image.

    Returns
    -------
    boxes float64 (B, 4), left, top, right, bottom in pixels, and flips bool (B,).
    """
    count = len(sizes)
    share = rng.uniform(smallest, 1.0, count)
    ratio = np.exp(rng.uniform(np.log(ASPECT[0]), np.log(ASPECT[1]), count)) if smallest < 1 else np.ones(count)
    corner = rng.random((count, 2))
    flips = rng.random(count) < 0.5
    if smallest == 1:
        height, width = sizes[:, 0].astype(np.float64), sizes[:, 1].astype(np.float64)
    else:
        area = share * sizes.prod(axis=1)
        height = np.minimum(np.sqrt(area / ratio), sizes[:, 0])
        width = np.minimum(np.sqrt(area * ratio), sizes[:, 1])
    top = corner[:, 0] * (sizes[:, 0] - height)
    left = corner[:, 1] * (sizes[:, 1] - width)
    return np.stack([left, top, left + width, top + height], axis=1), flips


def cropped_batch(
    images: PixelSource, rows: NDArray[np.int64], rng: np.random.Generator, *, size: int, smallest: float
) -> NDArray[np.uint8]:
    """Return random crops of some images, resized to a square and flipped half the time.

    Parameters
    ----------
    images
        Source of RGB images of any size.
    rows
        int64 (B,), which images.
    rng
        Generator of this step: boxes and flips are drawn for the whole batch at once.
    size
        Pixels on a side of the result.
    smallest
        Smallest share of the area that a crop keeps.

    Returns
    -------
    uint8 (B, size, size, 3).
    """
    from PIL import Image

    sources = [images.pixels(int(row)) for row in rows]
    sizes = np.array([source.shape[:2] for source in sources], dtype=np.int64)
    boxes, flips = crop_boxes(rng, sizes, smallest)
    batch = np.empty((len(rows), size, size, 3), dtype=np.uint8)
    for place, (source, box, flip) in enumerate(zip(sources, boxes, flips, strict=True)):
        crop = Image.fromarray(source).resize((size, size), Image.Resampling.BICUBIC, box=tuple(box))
        batch[place] = np.asarray(crop)[:, ::-1] if flip else np.asarray(crop)
    return batch
