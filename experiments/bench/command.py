"""Measure what things cost, as ratios in one run: rounds, encoding, scale, messages and starts.

Needs no download: features are drawn at random. Everything compared is run in turn; medians and quartiles are over
repeats, and first times stand apart. Threads are those of the environment (OMP_NUM_THREADS). Results are written to
DIR/bench.json, with the environment and every caveat. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.bench.find_peers import find_peers
from experiments.bench.results import SuiteResult, show, to_json
from experiments.bench.settings import Settings
from fl_sparse.atomic_file import write_whole
from fl_sparse.errors import InputError, nearest
from server.environment import describe_environment
from server.run_folder import check_new, next_name

SUMMARY = "measure speed and memory, as ratios in one run"
SUITES = ("rounds", "encode", "scale", "wire", "startup")
ON_DEVICE = ("rounds", "encode", "scale")
"""Those whose arithmetic runs on ``--device``."""


def epilog() -> str:
    """Return the part of ``--help`` with examples."""
    return "\n".join(
        [
            "examples:",
            "  python -m experiments bench --suite rounds --suite wire",
            "  python -m experiments bench --suite rounds --peers --peer pfl=PATH/bin/python",
            "  python -m experiments bench --suite startup --data-dir DIR",
        ]
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--suite", action="append", default=[], metavar="NAME", help=f"one of {', '.join(SUITES)}; default: all"
    )
    parser.add_argument("--peers", action="store_true", help="suite rounds: time other tools on the same job, too")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=PYTHON",
        help="the Python that has a tool (pfl, fluke, plain, flower); default: .venv-NAME in the checkout",
    )
    parser.add_argument(
        "--out", default="", metavar="DIR", help="a new folder (default: runs/bench-<next free number>)"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: to try the command, not to measure")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default), cuda or cuda:N")
    parser.add_argument("--data-dir", default="", metavar="DIR", help="suite startup: CIFAR-10's files, not digits")


def run(args: argparse.Namespace) -> int:
    """Run the suites; print tables and write the results."""
    suites = _suites(args.suite)
    if args.peer and not args.peers:
        raise InputError(f"--peer {args.peer[0]}: goes with --peers")
    if args.peers and "rounds" not in suites:
        raise InputError("--peers: goes with --suite rounds")
    if args.data_dir and "startup" not in suites:
        raise InputError(f"--data-dir {args.data_dir}: goes with --suite startup")
    _check_device(args.device)
    if args.device != "cpu" and (args.peers or not set(suites) & set(ON_DEVICE)):
        raise InputError(
            f"--device {args.device}: goes with --suite {', '.join(ON_DEVICE)}, and other tools are timed on the CPU"
        )
    peers = find_peers(args.peer) if args.peers else {}
    if args.data_dir:
        importlib.import_module("experiments.bench.suites.startup").check_data_dir(args.data_dir)
    out = Path(args.out) if args.out else Path("runs") / next_name(Path("runs"), "bench")
    check_new(out)
    out.mkdir(parents=True, exist_ok=True)
    console = Console()

    def told(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False, markup=False)

    settings = Settings(out.absolute(), args.quick, args.device, args.data_dir, peers, told)
    results: list[SuiteResult] = []
    for name in suites:
        results.append(importlib.import_module(f"experiments.bench.suites.{name}").run(settings))
        # After each suite: what was measured is not lost if a later one fails.
        write_whole(out / "bench.json", (json.dumps(_document(settings, results), indent=1) + "\n").encode())
        show(console, results[-1], judged=not args.quick)
    told(f"results: {out / 'bench.json'}")
    if args.quick:
        told("sizes were tiny (--quick): these numbers say nothing about speed")
    return 0


def _suites(given: Sequence[str]) -> list[str]:
    for name in given:
        if name not in SUITES:
            raise InputError(f"--suite {name}: unknown suite{nearest(name, SUITES)}")
    return [name for name in SUITES if not given or name in given]


def _check_device(name: str) -> None:
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: {str(error).splitlines()[0]}") from None


def _document(settings: Settings, results: Sequence[SuiteResult]) -> dict[str, Any]:
    return {
        "environment": describe_environment(),
        "device": settings.device,
        "quick": settings.quick,
        "suites": {result.suite: to_json(result) for result in results},
    }
