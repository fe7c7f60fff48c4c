"""A picture of what a shard shows: visible patches where they belong, everything else hatched grey."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fl_sparse.errors import InputError
from fl_sparse.patches import unpatchify
from fl_sparse.shard.describe import class_name, exposed_share, printable
from fl_sparse.shard.image_shard import ImageShard

if TYPE_CHECKING:
    from PIL.Image import Image

HIDDEN = 190
"""Grey level of a hidden patch; the hatching tells it from a visible patch that is grey."""
SHOWN_VIEWS = 8
_HATCH = 156
_HATCH_STEP = 7
_SMALL_TILE, _LARGE_TILE = 168, 252
_GAP = 14
_MARGIN = 24
_LINE = 18
_TITLE = 76
_TEXT, _LARGE_TEXT = 13, 18
_INK = (34, 34, 34)
_FAINT = (112, 112, 112)
_PAPER = (255, 255, 255)


def visible_image(shard: ImageShard, views: Sequence[int], image: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return what some views of an image show together.

    Returns
    -------
    pixels
        uint8 (image size, image size, 3), grey where nothing is shown.
    shown
        bool (rows, columns) of patches.
    """
    header = shard.header
    patches = np.full((header.num_patches, header.patch_values), HIDDEN, dtype=np.uint8)
    shown = np.zeros(header.num_patches, dtype=np.bool_)
    for view in views:
        visible, kept = shard.view(view, image)
        patches[kept] = visible
        shown[kept] = True
    return unpatchify(patches[None], header.patch_size, header.grid)[0], shown.reshape(header.grid)


def spread(count: int, shown: int) -> list[int]:
    """Return up to ``shown`` of the numbers below ``count``, evenly spread."""
    shown = min(count, shown)
    return [(2 * place + 1) * count // (2 * shown) for place in range(shown)]


def draw_contact_sheet(shard: ImageShard, path: Path) -> None:
    """Draw images spread evenly over a shard and write a PNG.

    Parameters
    ----------
    shard
        With one view, up to 32 of its images are shown (24 large ones); with several, up to 8, each in a row: its
        first views, then all of them together.
    path
        Where to write; an existing file is replaced.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    sheet = _one_view(shard) if shard.num_views == 1 else _many_views(shard)
    try:
        sheet.save(path, format="PNG")
    except OSError as error:
        raise InputError(f"{path}: cannot write the picture ({(error.strerror or str(error)).lower()})") from error


def _one_view(shard: ImageShard) -> "Image":
    tile = _tile_size(shard)
    most = 8 if tile == _SMALL_TILE else 6
    chosen = spread(shard.num_images, 4 * most)
    columns = min(most, max(4, len(chosen)))
    height = tile + 2 * _LINE + _GAP
    sheet = _titled(shard, columns * (tile + _GAP) - _GAP, -(-len(chosen) // columns) * height, len(chosen))
    for place, image in enumerate(chosen):
        left = _MARGIN + (place % columns) * (tile + _GAP)
        top = _MARGIN + _TITLE + (place // columns) * height
        _paste(sheet, *visible_image(shard, [0], image), left, top, tile)
        _write(sheet, left, top + tile + 4, class_name(shard, image), tile)
        _write(sheet, left, top + tile + 4 + _LINE, _facts(shard, image), tile, faint=True)
    return sheet


def _many_views(shard: ImageShard) -> "Image":
    tile = _tile_size(shard)
    chosen = spread(shard.num_images, 8)
    views = min(SHOWN_VIEWS, shard.num_views)
    height = tile + _LINE + _GAP
    # The union stands apart from the views it is made of.
    lefts = [_MARGIN + column * (tile + _GAP) + (_GAP if column == views else 0) for column in range(views + 1)]
    first = _MARGIN + _TITLE + _LINE + 4
    sheet = _titled(shard, lefts[-1] + tile - _MARGIN, _LINE + 4 + len(chosen) * height, len(chosen))
    for column, left in enumerate(lefts):
        title = f"view {column}" if column < views else f"all {shard.num_views} views"
        _write(sheet, left, first - _LINE - 4, title, tile)
    for row, image in enumerate(chosen):
        top = first + row * height
        for view in range(views):
            _paste(sheet, *visible_image(shard, [view], image), lefts[view], top, tile)
        _paste(sheet, *visible_image(shard, range(shard.num_views), image), lefts[-1], top, tile)
        caption = f"{class_name(shard, image)} · {_facts(shard, image)}"
        _write(sheet, lefts[0], top + tile + 4, caption, lefts[-1] - lefts[0])
    return sheet


def _tile_size(shard: ImageShard) -> int:
    return _SMALL_TILE if shard.header.image_size <= 96 else _LARGE_TILE


def _facts(shard: ImageShard, image: int) -> str:
    return f"row {int(shard.rows[image])} · {int(shard.visible(0)[image])} patches"


def _titled(shard: ImageShard, width: int, height: int, shown: int) -> "Image":
    """Return an empty sheet with its title; width and height are those of what goes below."""
    from PIL import Image

    header, mask = shard.header, shard.header.mask
    sheet = Image.new("RGB", (width + 2 * _MARGIN, _MARGIN + _TITLE + height - _GAP + _MARGIN), _PAPER)
    count = f"{shard.num_images:,} image{'s' if shard.num_images > 1 else ''}"
    title = f"{printable(header.source)}: {count if shown == shard.num_images else f'{shown} of {count}'}"
    _write(sheet, _MARGIN, _MARGIN - 4, title, width, size=_LARGE_TEXT)
    facts = f"mask {mask.rule}, ratio {mask.ratio:g}, {mask.schedule} · {header.grid[0]}×{header.grid[1]} patches"
    _write(sheet, _MARGIN, _MARGIN + 23, facts, width, faint=True)
    one = shard.num_views == 1
    stored = f"{exposed_share(shard)} of the pixels are stored{'' if one else ', in one view or another'}"
    note = stored if header.exposed == 1 and one else f"{stored}; hatched: not in this {'file' if one else 'view'}"
    _write(sheet, _MARGIN, _MARGIN + 23 + _LINE, note, width, faint=True)
    return sheet


def _paste(sheet: "Image", pixels: NDArray[np.uint8], shown: NDArray[np.bool_], left: int, top: int, tile: int) -> None:
    """Place an image in its tile, small ones enlarged by whole factors first, and hatch what is hidden."""
    from PIL import Image

    image = Image.fromarray(pixels)
    factor = tile // image.width
    if factor > 1:
        image = image.resize((image.width * factor,) * 2, Image.Resampling.NEAREST)
    image = image.resize((tile, tile), Image.Resampling.BOX)
    rows, columns = (np.arange(tile) * count // tile for count in shown.shape)
    down, across = np.indices((tile, tile))
    hatched = ~shown[np.ix_(rows, columns)] & ((down + across) % _HATCH_STEP == 0)
    drawn = np.asarray(image).copy()
    drawn[hatched] = _HATCH
    sheet.paste(Image.fromarray(drawn), (left, top))


def _write(
    sheet: "Image", left: int, top: int, text: str, width: int, *, size: int = _TEXT, faint: bool = False
) -> None:
    """Write a line, shortened to its width in pixels."""
    import matplotlib
    from PIL import ImageDraw, ImageFont

    # Pillow's own font knows Latin letters only.
    font = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)
    draw = ImageDraw.Draw(sheet)
    shortened = text
    while draw.textlength(shortened, font=font) > width and len(shortened) > 2:
        shortened = shortened[:-2].rstrip() + "…"
    draw.text((left, top), shortened, fill=_FAINT if faint else _INK, font=font)
