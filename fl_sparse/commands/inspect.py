"""Show what a shard holds: its header in words, its patches as a picture.

The picture shows images spread evenly over the shard, every visible patch
where it belongs and the hidden ones hatched grey. The shard's bytes are
compared with its SHA-256 first.

  python -m fl_sparse inspect device.shard
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from fl_sparse.errors import InputError

SUMMARY = "show what a shard holds, in words and as a picture"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("shard", type=Path, metavar="SHARD", help="file written by the command 'shard'")
    parser.add_argument("--out", type=Path, metavar="PNG", help="the picture (default: SHARD.png)")
    parser.add_argument("--force", action="store_true", help="replace an existing picture")


def run(args: Namespace) -> int:
    """Print the header and draw the contact sheet; return the exit code."""
    from fl_sparse.shard.contact_sheet import draw_contact_sheet
    from fl_sparse.shard.describe import describe_shard
    from fl_sparse.shard.file import load_shard, require_new_file

    picture = args.out or args.shard.with_name(f"{args.shard.name}.png")
    if picture.suffix != ".png":
        raise InputError(f"--out {picture}: expected a file with suffix .png")
    require_new_file(picture, force=args.force)
    if picture.exists() and args.shard.exists() and picture.samefile(args.shard):
        raise InputError(f"{picture}: the picture would replace the shard")
    shard = load_shard(args.shard)
    print("\n".join(describe_shard(shard)))
    draw_contact_sheet(shard, picture)
    print(f"\npicture   {picture}")
    return 0
