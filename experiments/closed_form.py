"""The line to beat: ridge regression and nearest class mean on the same features as a recipe's.

The penalty is chosen on the validation images. Both are one-shot and independent of how images are split over clients.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console

from experiments.recipes import find_recipe
from fl_sparse.atomic_file import write_whole
from fl_sparse.config import RunConfig, from_mapping, to_mapping
from fl_sparse.config.text import parse_override
from fl_sparse.errors import InputError
from fl_sparse.features import Standardizer, statistics_of
from fl_sparse.federation import FeatureTable, held_out_tables, standardized, training_table
from fl_sparse.learn.closed_form import accuracy, best_penalty, gram_of, nearest_mean, ridge

SUMMARY = "ridge regression and nearest class mean on a recipe's features"


def epilog() -> str:
    """Return the part of ``--help`` with examples."""
    return "example:\n  python -m experiments closed-form demo -c mask-ratio=0.75"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe's name or a TOML file")
    parser.add_argument("-c", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", default="", metavar="FILE", help="write the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Fit and print."""
    _, values = find_recipe(args.recipe)
    config = from_mapping({**values, **dict(parse_override(text) for text in args.overrides)}, source=args.recipe)
    if args.out and (Path(args.out).exists() or not Path(args.out).absolute().parent.is_dir()):
        raise InputError(f"--out {args.out}: expected a new file in an existing folder")
    result = fit(config)
    console = Console()
    console.print(
        f"ridge: {result['ridge']:.2%} of test images (penalty {result['penalty']:g}, chosen on validation)\n"
        f"nearest class mean: {result['class_mean']:.2%}",
        highlight=False,
    )
    if args.out:
        write_whole(Path(args.out), (json.dumps({"config": to_mapping(config)} | result, indent=1) + "\n").encode())
    return 0


def fit(config: RunConfig) -> dict[str, float]:
    """Return test accuracies (fractions) of ridge and nearest class mean, and the penalty chosen on validation."""
    clients = config.num_clients or 1
    training, held_out = training_table(config, clients, print), held_out_tables(config, clients, print)
    rows = np.unique(training.parts.rows)
    table = FeatureTable(training.table.features[:, rows], training.table.labels[rows], training.table.classes)
    flat = table.features.reshape(-1, table.features.shape[-1])
    standardizer = Standardizer.of(statistics_of(flat)) if config.standardize else None
    features = standardized(table, standardizer)
    labels = np.tile(table.labels, table.features.shape[0])
    gram = gram_of(features, labels, len(table.classes))
    validation, test = standardized(held_out.validation, standardizer), standardized(held_out.test, standardizer)

    penalty = best_penalty(gram, validation, held_out.validation.labels)
    return {
        "ridge": accuracy(*ridge(gram, penalty), test, held_out.test.labels),
        "penalty": penalty,
        "class_mean": accuracy(*nearest_mean(gram), test, held_out.test.labels),
    }
