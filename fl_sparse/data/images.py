"""The interface of every data source: labelled images, decoded on access.

n images · H rows · W columns; pixels are uint8 RGB, a validity mask is True where the source pixel was observed.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""One image, (H, W, 3) uint8 RGB."""


class ImageSet(Protocol):
    """Labelled images in a fixed order. Sizes may differ from image to image."""

    @property
    def name(self) -> str:
        """Data set and split, such as ``cifar10 train``."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; label c is ``classes[c]``."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of each image, (n,) int64."""

    @property
    def ids(self) -> NDArray[Any] | None:
        """Natural client id of each image, (n,) integers or strings, or None if the source has none."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal: equal for equal content in equal order, another when content changes."""

    def __len__(self) -> int:
        """Return n."""

    def pixels(self, index: int) -> Pixels:
        """Return image `index` as uint8 (H, W, 3) RGB: grey is repeated, alpha dropped, 16 bits scaled to 8.

        Raises
        ------
        InputError
            If the image cannot be read; the message names it.
        """

    def validity(self, index: int) -> NDArray[np.bool_] | None:
        """Return bool (H, W), True where a pixel of the source is valid, or None if all are.

        Raises
        ------
        InputError
            If the image or its mask cannot be read, or the mask has another size.
        """

    def describe(self, index: int) -> str:
        """Return where image `index` comes from (file or row), for messages."""


def resize_pixels(pixels: Pixels, size: int) -> Pixels:
    """Resize to a square with antialiased bicubic interpolation (Pillow's).

    Parameters
    ----------
    pixels
        uint8 (H, W, 3).
    size
        Side of the result in pixels.

    Returns
    -------
    uint8 (size, size, 3): the same values if the image has that size already.
    """
    if pixels.shape[:2] == (size, size):
        return pixels
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC))
