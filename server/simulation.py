"""A whole federation in this process: the ServerApp's rounds over the in-process grid."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable

from fl_sparse.array_ops import ArrayOps
from fl_sparse.config import RunConfig, to_mapping
from fl_sparse.federation import (
    HeldOut,
    SplitLabels,
    TrainingTable,
    held_out_tables,
    holdings,
    remember_training_table,
    training_table,
)
from server.cohort import Cohort
from server.flower_private import trains_plainly
from server.in_process_grid import InProcessGrid
from server.launch import Launch
from server.rounds import Watcher, run_rounds
from server.run_folder import RunFolder
from strategies.registry import assignment_rule

DEFAULT_CLIENTS = 4


@dataclass(frozen=True)
class ClientSide:
    """How a simulated federation's clients answer.

    Parameters
    ----------
    client_app
        Answers messages; with mods around its handlers, one by one.
    train_handler
        The handler of train messages. Where ``client_app`` has it alone, the cohort is trained at once.
    ops
        What the cohort is trained on, and the server evaluates on.
    """

    client_app: ClientApp
    train_handler: ClientAppCallable
    ops: ArrayOps


def simulate(
    config: RunConfig,
    launch: Launch,
    path: Path,
    client_app: ClientApp,
    train_handler: ClientAppCallable,
    ops: ArrayOps,
    watcher: Watcher,
) -> dict[str, Any]:
    """Run a federation in this process and return its summary.

    The cohort is trained at once when ``client_app`` answers train messages by ``train_handler`` alone; with mods
    around it, message by message.
    """
    assignment_rule(config)  # a mistake there should not wait for the images
    clients = config.num_clients or DEFAULT_CLIENTS
    # One reading of the source serves both tables; the images are let go of with the second.
    read = [holdings(config, clients)]
    training = training_table(config, clients, watcher.note, read[0])

    def held_out(count: int) -> HeldOut:
        tables = held_out_tables(config, count, watcher.note, read.pop())
        # Here the clients' own rows are known, without the images of which a natural mask shows nothing.
        return replace(tables, split=SplitLabels(training.table.labels, training.parts))

    if config.evaluate != "server":
        read.clear()
    side = ClientSide(client_app, train_handler, ops)
    return simulate_table(config, training, held_out, lambda: launch.open(config, path), side, watcher)


def simulate_table(
    config: RunConfig,
    training: TrainingTable,
    held_out: Callable[[int], HeldOut],
    open_folder: Callable[[], RunFolder],
    side: ClientSide,
    watcher: Watcher,
) -> dict[str, Any]:
    """Run a federation of as many clients as a table of features has parts, wherever its features are from.

    Parameters
    ----------
    config
        The configuration; what it says of images, masks and encoder is not read.
    training
        The clients' features and rows.
    held_out
        Number of clients -> the server's validation and test tables; called when the server evaluates.
    open_folder
        Creates or reopens the folder that the run writes.
    side
        How clients answer.
    watcher
        Is told of progress.
    """
    remember_training_table(config, training)  # for questions that the ClientApp answers
    plain = trains_plainly(side.client_app, side.train_handler)
    cohort = Cohort(config, training, side.ops) if plain else None
    population = None if cohort is None else cohort.population
    residuals = None if cohort is None else cohort.residuals
    grid = InProcessGrid(side.client_app, to_mapping(config), len(training.parts), cohort, population, residuals)
    with _older_objects_left_alone():
        return run_rounds(grid, config, open_folder, held_out, watcher, side.ops)


@contextlib.contextmanager
def _older_objects_left_alone() -> Iterator[None]:
    """Leave what a process holds before its rounds, modules above all, out of the search for unreachable objects.

    A round's many short-lived messages start one every few rounds; each would go through all that PyTorch imported.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
