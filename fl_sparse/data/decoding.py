"""From an encoded image of any mode to 8-bit RGB and a validity mask."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fl_sparse.data.images import Pixels
from fl_sparse.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION = 0x0112
"""EXIF tag of the rotation a viewer applies."""


def open_image(source: bytes | Path, where: str) -> "Image":
    """Decode the first frame of an image, turned the way a viewer would show it.

    Parameters
    ----------
    source
        Encoded bytes, or a file.
    where
        How messages name it.

    Raises
    ------
    InputError
        If it is missing, empty, truncated or of an unknown format.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            image.load()
            return ImageOps.exif_transpose(image) if ORIENTATION in image.getexif() else image
    except FileNotFoundError as error:
        raise InputError(f"{where}: no such image file") from error
    except Exception as error:  # decoders raise errors of every type on damaged data
        # Pillow's message on an unknown format holds the address of a buffer: say it in our words.
        reason = "not an image" if type(error).__name__ == "UnidentifiedImageError" else " ".join(str(error).split())
        raise InputError(f"{where}: cannot read the image: {reason}") from error


def rgb_pixels(image: "Image", where: str) -> Pixels:
    """Return uint8 (H, W, 3): grey repeated, palette looked up, alpha dropped, 16 bits scaled to 8.

    Raises
    ------
    InputError
        If the pixels are floating-point numbers, whose range no file states, or of a colour space without a
        conversion.
    """
    if image.mode.startswith("I"):
        # 16-bit grey: 65535 = 255 · 257, so this rounds to the nearest of the 256 levels.
        wide = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        grey = ((wide + 128) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise InputError(f"{where}: floating-point pixels have no known range; expected 8- or 16-bit integers")
    if image.mode == "RGB":
        return np.asarray(image)
    try:
        # By way of RGBA, since a palette with transparency warns when its alpha is thrown away in one step.
        straight = image.convert("RGBA") if image.mode in ("P", "PA", "LA", "RGBa") else image
        return np.asarray(straight.convert("RGB"))
    except ValueError as error:
        raise InputError(f"{where}: cannot convert {image.mode} pixels to RGB") from error


def alpha_validity(image: "Image") -> NDArray[np.bool_] | None:
    """Return bool (H, W), True where alpha > 0, or None for an image without transparency."""
    if not image.has_transparency_data:
        return None
    if image.mode.startswith("I"):
        # 16-bit grey has no alpha channel but may name one transparent level, which Pillow does not convert.
        return np.asarray(np.asarray(image) != image.info["transparency"], dtype=np.bool_)
    return np.asarray(image.convert("RGBA").getchannel("A")) > 0


def mask_validity(image: "Image", size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """Return bool (H, W), True where a mask image is not black.

    Parameters
    ----------
    image
        The mask, of any mode.
    size
        (H, W) of the image that it belongs to.
    where
        How messages name the mask.

    Raises
    ------
    InputError
        If the sizes differ.
    """
    values = np.asarray(image if image.mode in ("1", "L", "F") or image.mode.startswith("I") else image.convert("RGB"))
    valid = np.asarray(np.atleast_3d(values).any(axis=2), dtype=np.bool_)
    if valid.shape != size:
        raise InputError(
            f"{where}: the mask is {valid.shape[0]}x{valid.shape[1]} (rows x columns), its image {size[0]}x{size[1]}"
        )
    return valid
