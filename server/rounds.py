"""A run's rounds, from round 0's question to the summary: start, go on, write.

Flower's own ``Strategy.start`` has neither a first round to start from nor checkpoints, so the loop is here; the
strategy's methods and the grid are Flower's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from flwr.serverapp import Grid

from fl_sparse.array_ops import ArrayOps
from fl_sparse.config import RunConfig
from fl_sparse.data.partition_picture import draw_partition
from fl_sparse.errors import InputError
from fl_sparse.federation import HeldOut
from fl_sparse.memory import available_memory
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.model.network import NetworkSpec
from fl_sparse.wire import ClientDescription
from server.accounting import cost_entries
from server.checkpoint import Checkpoint, save_checkpoint, stored_checkpoints
from server.client_accuracy import ClientAccuracy, by_client, summary_entries
from server.client_table import ClientTable, client_table, write_clients
from server.evaluation import Examination, examination, score_entries
from server.in_process_grid import InProcessGrid
from server.model_files import write_models
from server.one_round import play_round
from server.picture import draw_accuracy
from server.question import Answers, ask_nodes, federation_standardizer, wait_for_nodes
from server.records import RoundRecord, chosen_record, summarize
from server.residual_files import STATE, ResidualFiles, check_residual_files
from server.ridge_start import ridge_start
from server.run_folder import RunFolder, rewrite_records, write_record, write_summary
from server.stored_state import stored_state
from strategies.clock.deadline import check_deadline
from strategies.clock.virtual_clock import VirtualClock
from strategies.registry import assignment_rule, effective, flower_strategy
from strategies.round.groups import AssignmentRule
from strategies.round.memory import check_round_memory
from strategies.state.broadcast import check_broadcast_feedback
from strategies.state.residuals import check_error_feedback


class Watcher(Protocol):
    """Who is told how the run goes."""

    def note(self, text: str) -> None:
        """Hear of a step before the rounds."""

    def round(self, record: RoundRecord, total: int) -> None:
        """Hear of a finished round."""


@dataclass(frozen=True)
class Start:
    """Where a run starts: round 0, or after a checkpoint's round."""

    checkpoint: Checkpoint
    records: list[RoundRecord]


def run_rounds(
    grid: Grid,
    config: RunConfig,
    open_folder: Callable[[], RunFolder],
    held_out: Callable[[int], HeldOut],
    watcher: Watcher,
    ops: ArrayOps | None = None,
) -> dict[str, Any]:
    """Run the federation and return its summary.

    Parameters
    ----------
    grid
        Reaches the nodes.
    config
        The configuration.
    open_folder
        Creates or reopens the run's folder; called once everything that can be checked beforehand is checked.
    held_out
        Number of clients -> the server's validation and test tables; called when the server evaluates.
    watcher
        Is told of progress.
    ops
        What the server evaluates on; NumPy if None.

    Raises
    ------
    InputError
        For mistakes in configuration or data, before round 1.
    """
    rule = assignment_rule(config)
    config = effective(config)
    nodes = wait_for_nodes(grid, config)
    answers = ask_nodes(grid, nodes, timeout=config.reply_timeout)
    # Nothing has started yet: a capacity that the method cannot meet is found here, not in a later round.
    rule.place(1, _one_of_each_capacity(answers.clients.values()))
    first = next(iter(answers.clients.values()))
    spec = MLPSpec(
        first.num_features,
        config.widths,
        len(first.classes),
        config.activation,
        config.normalization,
        skip=config.init == "ridge",
    )
    check_run(grid, config, rule, spec, answers.clients)
    tables = held_out(len(nodes)) if config.evaluate == "server" else None
    if tables is not None and tables.test.classes != first.classes:
        raise InputError(
            f"the server's data has {len(tables.test.classes)} classes and the clients' {len(first.classes)}, "
            "or their names or order differ"
        )
    folder = open_folder()
    clients = client_table(answers.clients, tables)
    write_clients(folder.clients_file, clients)
    start = _start(folder, config, spec, answers)
    state = start.checkpoint
    examine = examination(spec, tables, state.standardizer, ops or ArrayOps()) if tables is not None else None
    validation = None if examine is None else examine.sets["validation"]
    strategy = flower_strategy(
        config, rule, spec, answers.clients, state.standardizer, state.states, validation=validation
    )
    residuals = _residual_files(grid, config, folder, state)
    records = start.records
    if records and records[0].asked != len(answers.clients):
        watcher.note(f"warning: the run began with {records[0].asked} clients and goes on with {len(answers.clients)}")
    if not records:
        phases = [answers.exchanged]
        if config.init == "ridge":
            closed = ridge_start(grid, config, answers.clients, state.standardizer, state.parameters, tables)
            watcher.note(f"closed-form start: ridge regression with penalty {closed.penalty:g}")
            state = replace(state, parameters=closed.parameters)
            phases.append(closed.exchanged)
            answers = replace(
                answers,
                bytes_down=answers.bytes_down + closed.bytes_down,
                bytes_up=answers.bytes_up + closed.bytes_up,
            )
        state = replace(state, parameters=strategy.initial(state.parameters))
        record, found = _first_round(state, answers, clients, examine, _simulated(config, phases))
        records, state = [record], replace(state, by_client=found)
        write_record(folder, records[0])
        save_checkpoint(folder.checkpoints, state)
    watcher.round(records[-1], config.num_server_rounds)
    write_seconds = 0.0
    for number in range(state.round + 1, config.num_server_rounds + 1):
        parameters, record, found = play_round(
            grid, strategy, clients, state.parameters, examine, number, write_seconds
        )
        began = time.perf_counter()
        records.append(record)
        accuracies = found if chosen_record(records) is record else state.by_client
        states = strategy.states()
        if residuals is not None and isinstance(grid, InProcessGrid):
            states |= residuals.save(grid.residuals())
        state = Checkpoint(number, parameters, state.standardizer, state.classes, states, accuracies)
        # The record first: going on from a checkpoint drops later records, but could not make up a missing one.
        write_record(folder, record)
        save_checkpoint(folder.checkpoints, state)
        if residuals is not None:
            residuals.drop_unnamed()
        write_seconds = time.perf_counter() - began
        watcher.round(record, config.num_server_rounds)
    # Pictures wait for the end: the first round should not wait for them.
    if tables is not None and clients.labels is not None:
        draw_partition(tables.split.labels, tables.split.parts, clients.classes, folder.split_file)
    return _finish(folder, config, spec, state, clients, records)


def check_run(
    grid: Grid,
    config: RunConfig,
    rule: AssignmentRule,
    network: NetworkSpec,
    clients: Mapping[int, ClientDescription],
) -> None:
    """Refuse a run that cannot go well to its end, before it starts.

    Raises
    ------
    InputError
        For too little memory, a deadline that nobody meets, residuals that never apply or do not fit the disk.
    """
    streamed = isinstance(grid, InProcessGrid) and grid.streams
    check_round_memory(config, rule, clients, network.model, streamed=streamed, available=available_memory())
    check_deadline(config, rule, clients.values(), network)
    check_error_feedback(config, rule, clients.values())
    check_broadcast_feedback(config, rule, clients.values())
    if isinstance(grid, InProcessGrid):
        check_residual_files(config, rule, clients.values(), network.model)


def _residual_files(grid: Grid, config: RunConfig, folder: RunFolder, state: Checkpoint) -> ResidualFiles | None:
    """Return the files that residuals are kept in, None where they stay with the clients; hand out those there are."""
    if not (isinstance(grid, InProcessGrid) and config.error_feedback and config.keep_residuals):
        return None
    files = ResidualFiles(folder.checkpoints / "residuals")
    if STATE in state.states:
        try:
            grid.hand_out(files.load(state.states[STATE]))
        except InputError as error:
            newest = stored_checkpoints(folder.checkpoints)[-1]
            advice = f"; to go on from an earlier round, delete {newest.parent.name}/{newest.name}"
            raise InputError(f"{error}{advice}") from None
    return files


def _one_of_each_capacity(clients: Iterable[ClientDescription]) -> list[ClientDescription]:
    """Return the first client of each capacity, sorted by partition id: rules know clients by nothing else."""
    first: dict[float, ClientDescription] = {}
    for client in clients:
        known = first.setdefault(client.capacity, client)
        if client.partition_id < known.partition_id:
            first[client.capacity] = client
    return sorted(first.values(), key=lambda client: client.partition_id)


def _start(folder: RunFolder, config: RunConfig, spec: MLPSpec, answers: Answers) -> Start:
    stored = stored_state(folder)
    if stored is not None:
        checkpoint, records = stored
        rewrite_records(folder, records)
        return Start(checkpoint, records)
    first = next(iter(answers.clients.values()))
    standardizer = federation_standardizer(answers.clients) if config.standardize else None
    rewrite_records(folder, [])
    return Start(Checkpoint(0, init_parameters(spec, config.seed), standardizer, first.classes), [])


def _simulated(config: RunConfig, phases: Sequence[Mapping[int, tuple[int, int]]]) -> float | None:
    """Return the simulated seconds of questions, one after the other; each waits for its slowest client."""
    clock = VirtualClock.from_config(config)
    if clock is None:
        return None
    return sum(
        max(
            (clock.time(client, bytes_down=down, bytes_up=up).seconds for client, (down, up) in exchanged.items()),
            default=0.0,
        )
        for exchanged in phases
    )


def _first_round(
    state: Checkpoint,
    answers: Answers,
    clients: ClientTable,
    examine: Examination | None,
    simulated_seconds: float | None,
) -> tuple[RoundRecord, ClientAccuracy | None]:
    began = time.perf_counter()
    scores = {} if examine is None else examine(state.parameters)
    record = RoundRecord(
        round=0,
        asked=len(answers.clients),
        answered=len(answers.clients),
        bytes_down=answers.bytes_down,
        bytes_up=answers.bytes_up,
        simulated_seconds=simulated_seconds,
        seconds={"evaluate": time.perf_counter() - began},
        **score_entries(scores),
    )
    return record, by_client(0, clients, scores, {})


def _finish(
    folder: RunFolder,
    config: RunConfig,
    network: MLPSpec,
    state: Checkpoint,
    clients: ClientTable,
    records: list[RoundRecord],
) -> dict[str, Any]:
    write_models(folder, config, network, state)
    draw_accuracy(records, folder.picture_file, title=folder.path.name)
    summary = summarize(records) | cost_entries(records, clients, state.parameters) | summary_entries(state.by_client)
    write_summary(folder, summary)
    return summary
