"""Make one HTML report of runs and comparisons; it opens offline in any browser.

DIR is a run's folder, a comparison's folder, or a folder of run folders. Runs that differ in their seed alone are one
line with a band. Unfinished and damaged runs are named in the report.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from experiments.report.comparison_files import holds_comparison, loose_runs, read_comparison
from experiments.report.evidence import Evidence, gather
from experiments.report.page import make_report, render
from experiments.report.run_files import holds_run, read_run
from fl_sparse.atomic_file import write_whole
from fl_sparse.errors import InputError

SUMMARY = "make an HTML report of runs and comparisons"
NAME = "report.html"


def epilog() -> str:
    """Return the part of ``--help`` with examples."""
    return "\n".join(
        [
            "examples:",
            "  python -m experiments report results/grid --out grid.html",
            "  python -m experiments report runs/demo-1 runs/demo-2 --out two.html",
            "  python -m experiments report runs --out all.html --force",
        ]
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("folders", nargs="+", metavar="DIR", help="folders of runs or comparisons")
    parser.add_argument("--out", required=True, metavar="FILE", help="the HTML file to write")
    parser.add_argument("--title", default="", help="the report's heading (default: the folders' names)")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")


def run(args: argparse.Namespace) -> int:
    """Write the report; print where it is."""
    out = Path(args.out)
    if out.exists() and not (args.force and out.is_file()):
        raise InputError(f"--out {out} already exists" + ("; --force replaces it" if out.is_file() else ""))
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: {out.parent} is no folder")
    page = render_folders([Path(name) for name in args.folders], args.title)
    try:
        write_whole(out, page.encode())
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror or error}") from None
    Console().print(f"report: {out}", soft_wrap=True, highlight=False, markup=False)
    return 0


def write_report(comparison: Path) -> Path:
    """Write a comparison's report into its folder, and return its path."""
    out = comparison / NAME
    write_whole(out, render_folders([comparison]).encode())
    return out


def render_folders(folders: Sequence[Path], title: str = "") -> str:
    """Read folders and return the page.

    Raises
    ------
    InputError
        If a folder holds no run.
    """
    evidence = gather([_read(folder) for folder in folders])
    named = ", ".join(dict.fromkeys(folder.resolve().name for folder in folders))
    return render(make_report(title or f"Runs of {named}", evidence))


def _read(folder: Path) -> Evidence:
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder")
    if holds_comparison(folder):
        found = read_comparison(folder)
    elif holds_run(folder):
        found = read_run(folder)
    else:
        found = gather(loose_runs(folder))
    if found == Evidence():
        raise InputError(f"{folder} holds no run and no comparison")
    return found
