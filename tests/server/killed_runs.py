"""Runs over made-up features that are killed and go on, and all that a run leaves, for comparing it bit by bit."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.clientapp.typing import Mod

from client.app import client_app, train
from fl_sparse.array_ops import ArrayOps
from fl_sparse.config import RunConfig
from server.checkpoint import LAST, Checkpoint, load_checkpoint, stored_checkpoints
from server.launch import Launch
from server.run_folder import RunFolder
from server.simulation import ClientSide, simulate_table
from tests.server.made_up_table import held_out, training

RESENT = ("seconds", "bytes_down")
"""What may differ after a run went on: clients that have lost their state are sent the standardizer again."""


def with_residuals(**keys: Any) -> RunConfig:
    """A run with error feedback, of two clients of four a round."""
    chosen = {
        "strategy": "heterofl",
        # One client of a kind: a stack is of one client with a mod and without, and rounding cannot differ.
        "capacities": "1,0.8,0.6,0.4",
        "hidden_widths": "10,5",
        "num_clients": 4,
        "clients_per_round": 2,
        "num_server_rounds": 7,
        "local_steps": 1,
        "batch_size": 4,
        "learning_rate": 0.01,
        "update_format": "int8",
        "error_feedback": True,
    }
    return RunConfig(**(chosen | keys))


class KilledError(Exception):
    """The process is gone."""


class Watcher:
    """Kills the run once a round's checkpoint is written."""

    def __init__(self, kill_after: int | None = None) -> None:
        self._kill_after = kill_after
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def round(self, record: Any, total: int) -> None:
        if record.round == self._kill_after:
            raise KilledError


def play(
    config: RunConfig,
    path: Path,
    kill_after: int | None = None,
    mods: list[Mod] | None = None,
    ops: ArrayOps | None = None,
    watcher: Watcher | None = None,
) -> list[str]:
    """Start a run, or go on with it if its folder is there, until a round or its end; return what the watcher heard."""
    made, watcher = training(config, config.num_clients), watcher or Watcher(kill_after)
    launch = Launch(resume=str(path)) if path.exists() else Launch(out=str(path.parent), name=path.name)
    side = ClientSide(client_app(mods), train, ops or ArrayOps())
    try:
        simulate_table(config, made, lambda count: held_out(made), lambda: launch.open(config, path), side, watcher)
    except KilledError:
        if kill_after is None:
            raise
    else:
        assert kill_after is None
    return watcher.notes


def play_in_pieces(config: RunConfig, path: Path, kills: Iterable[int], **side: Any) -> None:
    """Run to the end, killed after these rounds."""
    for number in (*kills, None):
        play(config, path, number, **side)


def checkpoints(path: Path) -> list[Checkpoint]:
    """The last checkpoints of a run, oldest first; a kill may leave one more."""
    return [load_checkpoint(stored) for stored in stored_checkpoints(RunFolder(path).checkpoints)[-LAST:]]


def residual_files(path: Path) -> dict[str, bytes]:
    """The files of residuals, by name."""
    found = (RunFolder(path).checkpoints / "residuals").glob("*")
    return {file.name: file.read_bytes() for file in found}


def named_files(checkpoint: Checkpoint) -> set[str]:
    """The names of the files of residuals that a checkpoint goes on from."""
    state = checkpoint.states.get("residual-files")
    if state is None:
        return set()
    named = zip(state["clients"].tolist(), state["digests"], strict=True)
    return {f"client-{client}-{digest.tobytes().hex()}.safetensors" for client, digest in named}


def left_behind(path: Path) -> dict[str, Any]:
    """All that a run leaves, by name, as values that are equal if and only if all bits are."""
    left: dict[str, Any] = {}
    last = checkpoints(path)
    for checkpoint in last:
        at = f"round {checkpoint.round}: "
        left[at + "classes"] = checkpoint.classes
        groups: dict[str, Any] = {"weights": checkpoint.parameters, **checkpoint.states}
        if checkpoint.standardizer is not None:
            groups["standardizer"] = vars(checkpoint.standardizer)
        if checkpoint.by_client is not None:
            groups["clients"] = {name: np.asarray(value) for name, value in vars(checkpoint.by_client).items()}
        for group, arrays in groups.items():
            for name, array in arrays.items():
                left[f"{at}{group}.{name}"] = array.dtype.str, array.shape, array.tobytes()
    files, named = residual_files(path), set[str]().union(*map(named_files, last))
    left |= {name: files[name] for name in named}
    for model in [path / "model.safetensors", *sorted(path.glob("models/*"))]:
        left[model.name] = model.read_bytes() if model.exists() else None
    for line in (path / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        left[f"record {record['round']}"] = {key: value for key, value in record.items() if key not in RESENT}
    summary = json.loads((path / "summary.json").read_text())
    left["summary"] = {key: value for key, value in summary.items() if key not in RESENT}
    return left


def assert_same(path: Path, other: Path, case: object = "") -> None:
    """Fail, naming what differs, unless two runs left the same bits."""
    one, two = left_behind(path), left_behind(other)
    assert one.keys() == two.keys(), case
    assert not [name for name in one if one[name] != two[name]], case
