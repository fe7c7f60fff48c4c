"""Run a federation from a recipe and a list of overrides.

A recipe is the name of a file under experiments/recipes (see the list below) or the path of a TOML file of the keys
below; without one, the defaults run. The result is a folder: config.toml, environment.json, metrics.jsonl,
summary.json, model.safetensors, checkpoints/ and accuracy.png.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments import ray_backend
from experiments.recipes import describe_recipes, find_recipe
from fl_sparse.config import RunConfig, from_mapping, to_mapping
from fl_sparse.config.text import describe_keys, parse_override
from fl_sparse.errors import InputError
from fl_sparse.federation import check_data
from server.launch import Launch
from server.progress import BarWatcher, PlainWatcher, human_bytes
from server.run_folder import RunFolder, read_config
from strategies.registry import STRATEGIES, assignment_rule

SUMMARY = "run one federation and write its folder"


def epilog() -> str:
    """Return the part of ``--help`` that lists recipes, examples and keys."""
    return "\n".join(
        [
            describe_recipes(),
            "strategies: " + ", ".join(STRATEGIES),
            "",
            "examples:",
            "  python -m experiments run demo",
            "  python -m experiments run -c strategy=fedavg -c mask-ratio=0.75 --name fedavg-75",
            "  python -m experiments run -c dataset=parquet -c data-dir=DIR -c partition=dirichlet -c alpha=0.1",
            "  python -m experiments run --resume runs/demo-1",
            "",
            "keys:",
            describe_keys(),
        ]
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="a recipe's name or a TOML file")
    parser.add_argument(
        "-c", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="override a key; may be repeated"
    )
    parser.add_argument(
        "--backend",
        choices=("in-process", "ray"),
        default="in-process",
        help="in-process: one process, cohorts trained at once; ray: Flower's simulation engine",
    )
    parser.add_argument("--out", default="", metavar="DIR", help="where run folders are made (default: runs)")
    parser.add_argument("--name", default="", help="the run folder's name (default: RECIPE-<next free number>)")
    parser.add_argument("--resume", default="", metavar="DIR", help="go on with the unfinished run in DIR")


def run(args: argparse.Namespace) -> int:
    """Run the federation; print a table of the result."""
    launch = Launch(args.out, args.name, args.resume)
    recipe, config = resolve(args.recipe, args.overrides, args.resume)
    assignment_rule(config)
    check_data(config)
    path = launch.check(config, recipe)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    console = Console()
    try:
        if console.is_terminal:
            with BarWatcher(console) as bar:
                summary = start(args.backend, config, launch, path, bar)
        else:
            summary = start(args.backend, config, launch, path, PlainWatcher(sys.stdout))
    except KeyboardInterrupt:
        advice = f"; go on with: python -m experiments run --resume {path}" if path.exists() else ""
        print(f"stopped{advice}", file=sys.stderr)
        return 130
    show(console, config, summary, RunFolder(path.absolute()))
    return 0


def resolve(recipe: str | None, overrides: list[str], resume: str) -> tuple[str, RunConfig]:
    """Return the run's short name and its configuration: defaults, then the recipe's keys, then the overrides.

    When a run is resumed, its own configuration takes the recipe's place.

    Raises
    ------
    InputError
        For a recipe that is to be resumed, one that is unknown, or a key or value that is refused.
    """
    if recipe is not None and resume:
        raise InputError(
            f"recipe {recipe} and --resume {resume}: the run there has a configuration of its own; expected either"
        )
    if recipe is not None:
        name, values = find_recipe(recipe)
    elif resume:
        name, values = Path(resume).name, dict(to_mapping(read_config(Path(resume))))
    else:
        name, values = "run", {}
    chosen: dict[str, Any] = {**values, **dict(parse_override(text) for text in overrides)}
    return name, from_mapping(chosen, source=f"recipe {recipe}" if recipe else "configuration")


def start(backend: str, config: RunConfig, launch: Launch, path: Path, watcher: Any) -> dict[str, Any]:
    """Start the job on a backend and return its summary."""
    if backend == "ray":
        return ray_backend.run(config, launch, path, watcher)
    from client.app import app, train
    from fl_sparse.array_ops import TorchOps
    from server.simulation import simulate

    return simulate(config, launch, path, app, train, TorchOps(), watcher)


def show(console: Console, config: RunConfig, summary: dict[str, Any], folder: RunFolder) -> None:
    """Print the result as a table, and where its files lie."""
    table = Table(title=f"{config.strategy} on {config.dataset}, mask ratio {config.mask_ratio:g}", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    if summary["accuracy"] is not None:
        table.add_row("accuracy", f"{summary['accuracy']:.2%} of {summary['accuracy_of']}")
        # Without images of the server's own there is no second set to choose on.
        chosen_on = "validation images" if summary["accuracy_of"] == "test images" else "the same images: optimistic"
        table.add_row("chosen at round", f"{summary['chosen_round']} of {summary['rounds']}, on {chosen_on}")
        table.add_row("final, best", f"{summary['final_accuracy']:.2%}, {summary['best_accuracy']:.2%}")
    table.add_row("sent down, up", f"{human_bytes(summary['bytes_down'])}, {human_bytes(summary['bytes_up'])}")
    table.add_row("replies", f"{summary['asked']} asked, {summary['refused']} refused, {summary['lost']} lost")
    if summary["simulated_seconds"] is not None:
        table.add_row("simulated seconds", f"{summary['simulated_seconds']:.4g}, {summary['late']} replies late")
    seconds = summary["seconds"]
    table.add_row("seconds", ", ".join(f"{phase} {seconds[phase]:.1f}" for phase in seconds))
    console.print(table)
    console.print(f"plot: {folder.picture_file}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"run folder: {folder.path}", soft_wrap=True, highlight=False, markup=False)
