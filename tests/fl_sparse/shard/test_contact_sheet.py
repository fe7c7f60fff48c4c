"""The picture and the words that describe a shard."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fl_sparse.errors import InputError
from fl_sparse.masks.spec import RULES, MaskSpec
from fl_sparse.shard.build import build_shard
from fl_sparse.shard.contact_sheet import HIDDEN, draw_contact_sheet, spread, visible_image
from fl_sparse.shard.describe import describe_shard
from fl_sparse.shard.image_shard import ImageShard


def _shard(images: Any, mask: MaskSpec, image_size: int = 16, patch_size: int = 4) -> ImageShard:
    rows = np.arange(len(images))
    return build_shard(
        images,
        rows,
        mask=mask,
        image_size=image_size,
        patch_size=patch_size,
        data_seed=0,
        split="train",
        owners=rows % 2,
    )


def test_visible_patches_are_where_they_belong_and_the_rest_is_grey(make_images: Any) -> None:
    images = make_images([(16, 16)] * 2)
    shard = _shard(images, MaskSpec("random", 0.6, "resampled", 3))
    for views in ([0], [2], [0, 1, 2]):
        pixels, shown = visible_image(shard, views, 1)
        kept = np.unique(np.concatenate([shard.view(view, 1)[1] for view in views]))
        assert np.flatnonzero(shown).tolist() == kept.tolist()
        whole = shown.repeat(4, axis=0).repeat(4, axis=1)
        np.testing.assert_array_equal(pixels[whole], images.pixels(1)[whole])
        assert (pixels[~whole] == HIDDEN).all()


@pytest.mark.parametrize("views", [1, 2, 11])
@pytest.mark.parametrize("sizes", [(8, 1), (16, 4), (112, 16)])
def test_any_shard_can_be_drawn(make_images: Any, tmp_path: Path, views: int, sizes: tuple[int, int]) -> None:
    mask = MaskSpec("random", 0.5, "fixed" if views == 1 else "resampled", views)
    shard = _shard(make_images([(20, 30)] * 5), mask, *sizes)
    draw_contact_sheet(shard, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 550
        grey = (np.asarray(sheet) == HIDDEN).all(axis=2).mean()
    assert grey > 0.05


def test_a_picture_that_cannot_be_written_is_named(make_images: Any, tmp_path: Path) -> None:
    shard = _shard(make_images([(16, 16)]), MaskSpec("random", 0.5))
    with pytest.raises(InputError, match=r"none/sheet\.png: cannot write"):
        draw_contact_sheet(shard, tmp_path / "none" / "sheet.png")


@given(st.integers(1, 200), st.integers(1, 40))
def test_the_images_shown_are_spread_over_the_shard(count: int, shown: int) -> None:
    chosen = spread(count, shown)
    assert len(chosen) == min(count, shown)
    assert chosen[0] >= 0
    assert chosen[-1] < count
    steps = np.diff(chosen)
    assert not len(steps) or (steps.min() >= 1 and steps.max() - steps.min() <= 1)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_description_fits_a_terminal(make_images: Any, rule: str) -> None:
    images = make_images([(16, 16)] * 9)
    images = replace(images, classes=tuple(f"a class number {number}" for number in range(30)))
    lines = describe_shard(_shard(images, MaskSpec(rule, 0.5, "resampled", 8)))
    assert max(map(len, lines)) < 80
    text = " ".join(" ".join(lines).split())
    for part in ("images 9", "classes 30: a class number 0 (", "and 19 more", f"mask {rule}, ratio 0.5"):
        assert part in text


def test_names_in_a_file_cannot_command_the_terminal(make_images: Any) -> None:
    images = replace(make_images([(16, 16)] * 3), name="evil\x1b[2J", classes=("a\nb", "\x07", "c"))
    assert all(line.isprintable() for line in describe_shard(_shard(images, MaskSpec("random", 0.5))))


def test_a_ragged_shard_names_its_range_and_what_was_left_out(make_images: Any) -> None:
    half, none = np.ones((16, 16), dtype=np.bool_), np.zeros((16, 16), dtype=np.bool_)
    half[:8] = False
    images = replace(make_images([(16, 16)] * 3, [half, None, none]), labels=np.array([-1, 0, 0]))
    text = "\n".join(describe_shard(_shard(images, MaskSpec("natural", 0))))
    assert "2 (1 left out" in text
    assert "8 to 16 of 16 patches of an image, 12.0 on average" in text
    assert "75.0% of the pixels; the others are not in the file" in text
    assert "unlabelled (1)" in text
