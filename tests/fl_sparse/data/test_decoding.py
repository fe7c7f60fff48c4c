import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fl_sparse.data.decoding import alpha_validity, mask_validity, open_image, rgb_pixels
from fl_sparse.data.images import resize_pixels
from fl_sparse.errors import InputError

LEVELS = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


def reopened(image: Image.Image, kind: str = "PNG", **options: object) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return open_image(stream.getvalue(), "made.png")


def test_grey_is_repeated():
    assert (rgb_pixels(reopened(Image.fromarray(LEVELS)), "x") == LEVELS[:, :, None]).all()


def test_one_bit():
    bits = LEVELS > 100
    assert (rgb_pixels(reopened(Image.fromarray(bits)), "x") == 255 * bits[:, :, None]).all()


def test_sixteen_bits_are_scaled_to_the_nearest_level():
    wide = np.array([[0, 128, 129, 257, 32768, 65535]], dtype=np.uint16)
    expected = np.rint(wide / 257).astype(np.uint8)
    for kind in ("PNG", "TIFF"):
        assert (rgb_pixels(reopened(Image.fromarray(wide), kind), "x")[:, :, 1] == expected).all()
    assert expected.tolist() == [[0, 0, 1, 1, 128, 255]]


def test_palette_and_palette_with_transparency():
    palette = Image.fromarray(LEVELS).convert("P")
    colours = np.arange(768) % 251
    palette.putpalette(colours.astype(np.uint8).tobytes())
    expected = colours.reshape(256, 3)[LEVELS]
    assert (rgb_pixels(reopened(palette), "x") == expected).all()
    clear = reopened(palette, transparency=int(LEVELS[1, 2]))
    assert (rgb_pixels(clear, "x") == expected).all()
    assert (alpha_validity(clear) == (LEVELS[1, 2] != LEVELS)).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped_and_says_what_is_valid(mode):
    alpha = np.where(LEVELS > 100, LEVELS, 0)
    image = Image.fromarray(LEVELS).convert(mode)
    image.putalpha(Image.fromarray(alpha))
    image = reopened(image)
    assert (rgb_pixels(image, "x") == LEVELS[:, :, None]).all()
    assert (alpha_validity(image) == (LEVELS > 100)).all()


def test_no_transparency_means_no_mask():
    assert alpha_validity(reopened(Image.fromarray(LEVELS))) is None


def test_transparent_level_of_a_16_bit_image():
    wide = LEVELS.astype(np.uint16) * 200
    image = reopened(Image.fromarray(wide), transparency=int(wide[1, 2]))
    assert (alpha_validity(image) == (wide != wide[1, 2])).all()


def test_cmyk():
    inks = np.zeros((4, 6, 4), dtype=np.uint8)
    inks[:, :, 0] = 255
    image = reopened(Image.frombytes("CMYK", (6, 4), inks.tobytes()), "TIFF")
    assert image.mode == "CMYK"
    assert (rgb_pixels(image, "x") == [0, 255, 255]).all()


def test_turned_as_the_camera_says(tmp_path):
    image = Image.fromarray(np.repeat(LEVELS[:, :, None], 3, axis=2))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    turned = rgb_pixels(open_image(tmp_path / "turned.png", "x"), "x")
    assert (turned[:, :, 0] == np.rot90(LEVELS, -1)).all()


def test_floating_point_is_refused():
    image = Image.fromarray(LEVELS.astype(np.float32))
    with pytest.raises(InputError, match=r"scan\.tif: floating-point"):
        rgb_pixels(image, "scan.tif")


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(0, 300), kind=st.sampled_from(["PNG", "JPEG", "TIFF", "GIF", "BMP"]))
def test_damaged_images_are_named_in_one_line(cut, kind):
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, kind)
    content = stream.getvalue()
    with pytest.raises(InputError, match=r"^bad\.jpg: cannot read the image: [^\n]+$"):
        open_image(content[: min(cut, len(content) - 100)], "bad.jpg")


def test_a_missing_file_is_named():
    with pytest.raises(InputError, match=r"^gone\.png: no such image file$"):
        open_image(Path("gone.png"), "gone.png")


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "I;16"])
def test_masks_of_any_mode(mode):
    valid = LEVELS > 100
    if mode == "I;16":
        mask = Image.fromarray(valid.astype(np.uint16))
    else:
        mask = Image.fromarray(255 * valid.astype(np.uint8)).convert(mode)
    assert (mask_validity(reopened(mask), (4, 6), "m") == valid).all()


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"^m\.png: the mask is 4x6 .*, its image 5x6$"):
        mask_validity(Image.fromarray(LEVELS), (5, 6), "m.png")


def test_resizing(pixels):
    image = pixels(1, 6, 9)
    assert resize_pixels(image, 12).shape == (12, 12, 3)
    assert resize_pixels(image, 3).dtype == np.uint8
    square = pixels(2, 8, 8)
    assert resize_pixels(square, 8) is square
    # Antialiased: a fine checkerboard becomes grey, not one of its colours.
    board = np.repeat(((np.indices((16, 16)).sum(axis=0) % 2) * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    assert abs(resize_pixels(board, 4).astype(int) - 128).max() < 30
