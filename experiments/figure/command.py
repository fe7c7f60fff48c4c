"""Draw a figure of a comparison's tables (summary.csv, budgets.csv): means with their 95 % intervals.

Lines where --x names a column of numbers, dots from top to bottom where it names one of names. With --pareto, accuracy
against the megabytes that whole runs sent, on a logarithmic axis; filled points are those that no other one beats.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.figure.draw import Kind, draw
from experiments.figure.points import SENT, Choice, points, read_rows
from fl_sparse.errors import InputError

SUMMARY = "draw a figure of a comparison's tables"
FORMATS = (".svg", ".png")


def epilog() -> str:
    """Return the part of ``--help`` with examples."""
    return "\n".join(
        [
            "examples:",
            "  python -m experiments figure results/grid/summary.csv --x mask-ratio --series strategy --out grid.svg",
            "  python -m experiments figure results/first/summary.csv --pareto --series strategy --out front.svg",
            "  python -m experiments figure results/grid/budgets.csv --x megabytes --log --series strategy --out b.svg",
        ]
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("tables", nargs="+", metavar="CSV", help="tables with mean and interval of each line")
    parser.add_argument("--x", default="", metavar="KEY", help="column along the axis")
    parser.add_argument("--series", default="", metavar="KEY,…", help="columns that tell lines apart")
    parser.add_argument("--panels", default="", metavar="KEY,…", help="columns that tell panels apart")
    parser.add_argument("--measure", default="accuracy", metavar="NAME", help="columns NAME_mean and NAME_interval")
    parser.add_argument(
        "--where", action="append", default=[], metavar="KEY=V1,V2,…", help="draw only rows with these values"
    )
    parser.add_argument("--log", action="store_true", help="logarithmic x")
    parser.add_argument("--pareto", action="store_true", help="accuracy against megabytes sent, with the front")
    parser.add_argument("--out", required=True, metavar="FILE", help=f"the figure: {' or '.join(FORMATS)}")


def run(args: argparse.Namespace) -> int:
    """Draw the figure."""
    out = Path(args.out)
    if out.suffix not in FORMATS or not out.absolute().parent.is_dir():
        raise InputError(f"--out {out}: expected a file with suffix {' or '.join(FORMATS)} in an existing folder")
    if bool(args.x) == args.pareto:
        raise InputError(f"--x {args.x!r}: expected a column, or --pareto alone")
    choice = Choice(
        x=args.x or SENT,
        measure=args.measure,
        series=_keys(args.series),
        panels=_keys(args.panels),
        where=tuple(_filter(text) for text in args.where),
    )
    drawn = points(read_rows([Path(table) for table in args.tables]), choice)
    named = any(isinstance(point.x, str) for point in drawn)
    if named and (args.pareto or args.log):
        raise InputError(f"column {choice.x!r} holds names; a logarithmic axis needs numbers")
    kind: Kind = "pareto" if args.pareto else "dots" if named else "lines"
    x = "megabytes sent by a whole run, down and up" if args.pareto else choice.x
    draw(drawn, out, kind=kind, x=x, y=f"{_title(args.measure)}, %", log=args.log)
    print(f"figure: {out}")
    return 0


def _keys(text: str) -> tuple[str, ...]:
    return tuple(key.strip() for key in text.split(",") if key.strip())


def _filter(text: str) -> tuple[str, tuple[str, ...]]:
    key, equals, values = text.partition("=")
    if not equals or not values:
        raise InputError(f"--where {text!r}: expected KEY=V1,V2,…")
    return key, tuple(value.strip() for value in values.split(","))


def _title(measure: str) -> str:
    return "test accuracy" if measure == "accuracy" else measure.replace("_", " ")
