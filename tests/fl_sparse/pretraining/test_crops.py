"""Crops: whole, flipped, inside the image, and drawn from the generator alone."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fl_sparse.pretraining.crops import crop_boxes, cropped_batch
from fl_sparse.pretraining.decoded import DecodedImages


class MadeImages:
    fingerprint = "made"

    def __init__(self, count: int = 6, sizes: tuple[tuple[int, int], ...] = ((12, 12),)) -> None:
        rng = np.random.default_rng(5)
        self.arrays = [rng.integers(0, 256, (*sizes[i % len(sizes)], 3), dtype=np.uint8) for i in range(count)]
        self.decoded = 0

    def __len__(self) -> int:
        return len(self.arrays)

    def pixels(self, index: int) -> np.ndarray:
        self.decoded += 1
        return self.arrays[index]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40), st.integers(1, 40), st.floats(0.05, 1))
def test_boxes_lie_inside_and_keep_their_share(seed: int, height: int, width: int, smallest: float) -> None:
    sizes = np.tile(np.array([[height, width]]), (20, 1))
    boxes, flips = crop_boxes(np.random.default_rng(seed), sizes, smallest)
    left, top, right, bottom = boxes.T
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (right <= width + 1e-9).all()
    assert (bottom <= height + 1e-9).all()
    assert (right > left).all()
    assert (bottom > top).all()
    area = (right - left) * (bottom - top)
    assert (area <= height * width * (1 + 1e-9)).all()
    clipped = np.isclose(right - left, width) | np.isclose(bottom - top, height)
    assert (clipped | (area >= smallest * height * width * (1 - 1e-9))).all()
    assert flips.dtype == bool


def test_whole_images_are_only_flipped() -> None:
    images = MadeImages(40)
    batch = cropped_batch(images, np.arange(40), np.random.default_rng(0), size=12, smallest=1.0)
    straight = np.array([np.array_equal(batch[i], images.arrays[i]) for i in range(40)])
    mirrored = np.array([np.array_equal(batch[i], images.arrays[i][:, ::-1]) for i in range(40)])
    assert (straight ^ mirrored).all()
    assert 5 < straight.sum() < 35


def test_a_crop_is_the_box_resized() -> None:
    images = MadeImages(4, sizes=((20, 30), (9, 7)))
    sizes = np.array([image.shape[:2] for image in images.arrays])
    boxes, flips = crop_boxes(np.random.default_rng(3), sizes, 0.3)
    batch = cropped_batch(images, np.arange(4), np.random.default_rng(3), size=8, smallest=0.3)
    for i in range(4):
        expected = np.asarray(Image.fromarray(images.arrays[i]).resize((8, 8), Image.Resampling.BICUBIC, boxes[i]))
        np.testing.assert_array_equal(batch[i], expected[:, ::-1] if flips[i] else expected)


def test_images_are_decoded_once_within_the_budget() -> None:
    source = MadeImages(4)
    size = source.arrays[0].nbytes
    images = DecodedImages(source, 3, budget=2 * size)
    for _ in range(2):
        for index in range(len(images)):
            np.testing.assert_array_equal(images.pixels(index), source.arrays[index])
    assert len(images) == 3
    assert source.decoded == 2 + 2
