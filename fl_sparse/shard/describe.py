"""A shard in words: lines for a terminal of 80 columns."""

import textwrap

import numpy as np

from fl_sparse.masks.spec import RULES
from fl_sparse.shard.image_shard import ImageShard

_NAME_WIDTH = 10
_LINE_WIDTH = 79
_SHOWN_CLASSES = 12
# A class and its count stay on one line.
_NO_BREAK = "\u00a0"


def describe_shard(shard: ImageShard) -> list[str]:
    """Return what a shard holds and how it was masked, one fact a line."""
    header, mask = shard.header, shard.header.mask
    rows, columns = header.grid
    lines = [
        ("source", printable(header.source)),
        ("split", header.split),
        ("images", f"{shard.num_images:,}{_left_out(header.left_out)}"),
        ("classes", _classes(shard)),
        ("size", f"{_square(header.image_size)} pixels, {rows}×{columns} patches of {_square(header.patch_size)}"),
        ("mask", f"{mask.rule}, ratio {mask.ratio:g}: {RULES[mask.rule]}"),
        ("schedule", _schedule(shard)),
        ("visible", _visible(shard)),
        ("exposed", _exposed(shard)),
        ("seed", str(header.data_seed)),
        ("tensors", _bytes(sum(part.nbytes for part in (shard.patches, shard.kept, shard.labels, shard.rows)))),
        ("SHA-256", header.digest),
    ]
    wrapped: list[str] = []
    for name, value in lines:
        indent = " " * _NAME_WIDTH
        text = textwrap.wrap(value, _LINE_WIDTH - _NAME_WIDTH, break_on_hyphens=False) or [""]
        wrapped += [f"{name:<{_NAME_WIDTH}}{text[0]}", *(indent + line for line in text[1:])]
    return [line.replace(_NO_BREAK, " ") for line in wrapped]


def class_name(shard: ImageShard, image: int) -> str:
    """Return the name of an image's class."""
    label = int(shard.labels[image])
    return printable(shard.header.classes[label]) if label >= 0 else "unlabelled"


def exposed_share(shard: ImageShard) -> str:
    """Return the share of pixels that the shard holds, never rounded up to all."""
    share = shard.header.exposed
    return "all" if share == 1 else f"{min(share, 0.999):.1%}"


def printable(text: str) -> str:
    """Return a name from a file without what a terminal would take for a command."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _square(side: int) -> str:
    return f"{side}×{side}"


def _left_out(count: int) -> str:
    return f" ({count:,} left out: no patch of theirs is valid)" if count else ""


def _classes(shard: ImageShard) -> str:
    counts = np.bincount(shard.labels[shard.labels >= 0], minlength=len(shard.header.classes))
    counted = zip(shard.header.classes, counts.tolist(), strict=True)
    parts = [f"{printable(name)} ({count:,})".replace(" ", _NO_BREAK) for name, count in counted]
    if len(parts) > _SHOWN_CLASSES:
        parts = [*parts[: _SHOWN_CLASSES - 1], f"and {len(parts) - _SHOWN_CLASSES + 1} more"]
    unlabelled = shard.num_images - int(counts.sum())
    if unlabelled:
        parts.append(f"unlabelled{_NO_BREAK}({unlabelled:,})")
    return f"{len(shard.header.classes)}: {', '.join(parts)}" if shard.header.classes else "none, no image is labelled"


def _schedule(shard: ImageShard) -> str:
    if shard.header.mask.schedule == "fixed":
        return "fixed: one mask an image"
    return f"resampled: {shard.num_views} masks an image, taken in turn from epoch to epoch"


def _visible(shard: ImageShard) -> str:
    lengths, patches = shard.lengths, shard.header.num_patches
    whose = "an image" if shard.num_views == 1 else "a view"
    low, high = int(lengths.min()), int(lengths.max())
    if low == high:
        return f"{low} of {patches} patches of {whose}"
    return f"{low} to {high} of {patches} patches of {whose}, {lengths.mean():.1f} on average"


def _exposed(shard: ImageShard) -> str:
    where = ", all views together" if shard.num_views > 1 else ""
    if shard.header.exposed == 1:
        return f"all pixels{where}"
    return f"{exposed_share(shard)} of the pixels{where}; the others are not in the file"


def _bytes(count: int) -> str:
    if count < 10_000:
        return f"{count:,} bytes"
    return f"{count / 1e6:,.1f} MB" if count >= 1_000_000 else f"{count / 1e3:,.1f} kB"
