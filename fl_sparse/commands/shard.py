"""Write a device's shard: the visible patches of a folder of images.

Nothing of what is hidden is stored. Labels come from class folders
(IMAGES/cat/1.jpg), or from a table (--labels), or there are none. Give all
devices the same --classes, so that they number the classes alike. With the
mask 'natural', hidden is what is transparent, or black in 1.mask.png beside
1.jpg.

  python -m fl_sparse shard photos --out device.shard --classes cat,dog
  python -m fl_sparse shard tiles --out device.shard --mask natural
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fl_sparse.errors import InputError
from fl_sparse.masks.spec import MAX_RATIO, RULES, SCHEDULES, SHARERS, MaskSpec

SUMMARY = "write a device's shard from a folder of images"
DEFAULT_VIEWS = 8
DEFAULT_RATIO = 0.5


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("images", type=Path, metavar="IMAGES", help="folder of class folders, or of images")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the shard")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    parser.add_argument(
        "--labels", type=Path, metavar="CSV", help="table with the columns file (within IMAGES) and label (a name)"
    )
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        help="class names in the order of their numbers: separated by commas, or a text file with one a line "
        "(default: the names found, sorted)",
    )
    parser.add_argument("--split", choices=("train", "test"), default="train", help="what the images are for")
    size = parser.add_argument_group("size")
    size.add_argument("--encoder", metavar="NAME", help="take the sizes of this encoder (default: shipped)")
    size.add_argument("--image-size", type=int, metavar="PIXELS", help="instead of an encoder's")
    size.add_argument("--patch-size", type=int, metavar="PIXELS", help="instead of an encoder's")
    mask = parser.add_argument_group("mask")
    mask.add_argument("--mask", default="random", metavar="RULE", help=f"{', '.join(RULES)} (default: random)")
    mask.add_argument(
        "--mask-ratio",
        type=float,
        metavar="RATIO",
        help=f"share of the patches removed, 0 to {MAX_RATIO} (default: {DEFAULT_RATIO}, for natural 0)",
    )
    mask.add_argument(
        "--mask-schedule", default="fixed", metavar="SCHEDULE", help=f"{' or '.join(SCHEDULES)} (default: fixed)"
    )
    mask.add_argument(
        "--mask-views", type=int, metavar="V", help=f"masks an image when resampled (default: {DEFAULT_VIEWS})"
    )
    mask.add_argument(
        "--mask-shared-by", default="client", metavar="WHO", help=f"{' or '.join(SHARERS)} (default: client)"
    )
    mask.add_argument("--client", type=int, default=0, metavar="K", help="whose shared mask (default: 0)")
    mask.add_argument("--data-seed", type=int, default=0, metavar="SEED", help="seed of the masks (default: 0)")


def run(args: Namespace) -> int:
    """Write the shard and say what is in it; return the exit code."""
    import numpy as np

    from fl_sparse.patches import grid
    from fl_sparse.shard.build import build_shard
    from fl_sparse.shard.describe import describe_shard
    from fl_sparse.shard.device_folder import device_images
    from fl_sparse.shard.file import require_new_file, save_shard

    mask = _mask(args)
    image_size, patch_size = _sizes(args)
    grid(image_size, patch_size)
    for name, value in (("--client", args.client), ("--data-seed", args.data_seed)):
        if value < 0:
            raise InputError(f"{name} {value}: expected 0 or more")
    require_new_file(args.out, force=args.force)
    images = device_images(args.images, classes=_classes(args.classes), labels=args.labels)
    rows = np.arange(len(images))
    with _progress(len(images)) as advance:
        shard = build_shard(
            images,
            rows,
            mask=mask,
            image_size=image_size,
            patch_size=patch_size,
            data_seed=args.data_seed,
            split=args.split,
            owners=np.full(len(images), args.client),
            progress=advance,
        )
    save_shard(args.out, shard)
    print("\n".join(describe_shard(shard)))
    print(f"\nwritten   {args.out}; look at it with: python -m fl_sparse inspect {args.out}")
    if mask.rule == "natural" and mask.ratio == 0 and shard.header.exposed == 1 and not shard.header.left_out:
        print(f"note: nothing in {args.images} is transparent or masked: every pixel is stored", file=sys.stderr)
    return 0


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """Yield what advances a bar on standard error, which only a terminal sees."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("masking images", total=total)
        yield lambda: bar.advance(task)


def _mask(args: Namespace) -> MaskSpec:
    views = args.mask_views
    if views is None:
        views = DEFAULT_VIEWS if args.mask_schedule == "resampled" else 1
    ratio = args.mask_ratio
    if ratio is None:
        ratio = 0.0 if args.mask == "natural" else DEFAULT_RATIO
    return MaskSpec(args.mask, ratio, args.mask_schedule, views, args.mask_shared_by)


def _sizes(args: Namespace) -> tuple[int, int]:
    """Return image size and patch size: as given, or an encoder's."""
    given = (args.image_size, args.patch_size)
    if given == (None, None):
        from fl_sparse.encoder.spec import encoder_spec

        spec = encoder_spec(args.encoder or "shipped")
        return spec.image_size, spec.patch_size
    sizes = {"--image-size": args.image_size, "--patch-size": args.patch_size}
    named = " ".join(f"{option} {size}" for option, size in sizes.items() if size is not None)
    if args.encoder is not None:
        raise InputError(f"--encoder {args.encoder} {named}: expected either --encoder, or both sizes")
    if None in given:
        missing = next(option for option, size in sizes.items() if size is None)
        raise InputError(f"{named} without {missing}: expected both, or neither for an encoder's sizes")
    return args.image_size, args.patch_size


def _classes(text: str | None) -> list[str] | None:
    if text is None:
        return None
    source = Path(text)
    if source.is_file():
        try:
            parts = source.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--classes {text}: cannot read the file ({' '.join(str(error).split())})") from error
    else:
        parts = text.split(",")
    names = [part.strip() for part in parts if part.strip()]
    if not names or len(set(names)) != len(names):
        raise InputError(f"--classes {text}: expected class names, each once")
    return names
