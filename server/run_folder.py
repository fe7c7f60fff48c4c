"""A run's folder: configuration, environment, metrics, checkpoints, weights, picture."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl_sparse.atomic_file import write_whole
from fl_sparse.config import RunConfig, differing_keys, from_mapping, to_mapping
from fl_sparse.config.text import toml_text
from fl_sparse.config.values import shown
from fl_sparse.errors import InputError
from server.environment import describe_environment
from server.records import RoundRecord, from_json, to_json


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.toml"

    @property
    def metrics_file(self) -> Path:
        """One JSON object a round."""
        return self.path / "metrics.jsonl"

    @property
    def summary_file(self) -> Path:
        """Written last: a folder with a summary is a finished run."""
        return self.path / "summary.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of the last few checkpoints."""
        return self.path / "checkpoints"

    @property
    def model_file(self) -> Path:
        """Final weights."""
        return self.path / "model.safetensors"

    def client_model_file(self, client: int) -> Path:
        """Return the file of a client's final weights, where each has a model of its own."""
        return self.path / "models" / f"client-{client}.safetensors"

    @property
    def split_file(self) -> Path:
        """A picture of how the training images are split over clients."""
        return self.path / "split.png"

    @property
    def clients_file(self) -> Path:
        """The table of clients and what each holds."""
        return self.path / "clients.json"

    @property
    def picture_file(self) -> Path:
        """A picture of accuracy by round."""
        return self.path / "accuracy.png"


def next_name(out: Path, recipe: str) -> str:
    """Return ``<recipe>-<next free number>`` under ``out``."""
    taken = [0]
    if out.is_dir():
        numbered = re.compile(re.escape(recipe) + r"-(\d+)")
        taken += [int(match[1]) for entry in out.iterdir() if (match := numbered.fullmatch(entry.name))]
    return f"{recipe}-{max(taken) + 1}"


def check_new(path: Path) -> None:
    """Refuse a folder that holds anything, or that cannot be made.

    Raises
    ------
    InputError
        Naming the folder, and how to go on with the run in it, if it is one.
    """
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"output folder {path}: {above} is no folder that can be written to")
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        known = (path / "config.toml").exists()
        advice = "; --resume goes on with it" if known and not (path / "summary.json").exists() else ""
        raise InputError(f"output folder {path} already holds {'another run' if known else 'something'}{advice}")


def create_run_folder(path: Path, config: RunConfig) -> RunFolder:
    """Create a run's folder with its configuration and environment."""
    check_new(path)
    folder = RunFolder(path.absolute())
    try:
        folder.checkpoints.mkdir(parents=True)
        write_whole(folder.config_file, toml_text(to_mapping(config)).encode())
    except OSError as error:
        raise InputError(f"output folder {path}: {error.strerror or error}") from None
    environment = json.dumps(describe_environment(), indent=2) + "\n"
    write_whole(path / "environment.json", environment.encode())
    return folder


def read_config(path: Path) -> RunConfig:
    """Read the configuration of a run's folder.

    Raises
    ------
    InputError
        If the folder holds no run, or its configuration is damaged.
    """
    source = RunFolder(path).config_file
    try:
        values = tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} holds no run: {source}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{source}: no valid TOML: {error}") from None
    return from_mapping(values, source=str(source))


def open_unfinished(path: Path, config: RunConfig) -> RunFolder:
    """Return the folder of a run to go on with.

    Raises
    ------
    InputError
        If it holds no run, a finished one, or one of another configuration (naming the keys that differ).
    """
    folder = RunFolder(path.absolute())
    stored = read_config(path)
    if differing := differing_keys(stored, config):
        old, new = to_mapping(stored), to_mapping(config)
        changes = ", ".join(f"{key} = {shown(old[key])} there, {shown(new[key])} here" for key in differing)
        raise InputError(f"{path} was started with another configuration: {changes}")
    if folder.summary_file.exists():
        raise InputError(f"{path} holds a finished run")
    try:
        folder.checkpoints.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder.checkpoints}: {error.strerror or error}; expected the folder of checkpoints"
        ) from None
    return folder


def write_record(folder: RunFolder, record: RoundRecord) -> None:
    """Append a round's record; it is on the disk before the round's checkpoint is."""
    with folder.metrics_file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(to_json(record)) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_records(folder: RunFolder, *, up_to: int | None = None) -> list[RoundRecord]:
    """Read the records of whole lines, up to a round; a line cut off by a kill is left out.

    Raises
    ------
    InputError
        If a whole line is no record.
    """
    if not folder.metrics_file.exists():
        return []
    try:
        lines = folder.metrics_file.read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{folder.metrics_file} cannot be read: {error}") from None
    records = []
    for number, line in enumerate(lines, start=1):
        source = f"{folder.metrics_file}, line {number}"
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{source}: no JSON: {error}") from None
        record = from_json(values, source=source)
        if up_to is None or record.round <= up_to:
            records.append(record)
    return records


def rewrite_records(folder: RunFolder, records: Sequence[RoundRecord]) -> None:
    """Replace the metrics by these records, when a run goes on from a checkpoint."""
    text = "".join(json.dumps(to_json(record)) + "\n" for record in records)
    write_whole(folder.metrics_file, text.encode())


def write_summary(folder: RunFolder, summary: dict[str, Any]) -> None:
    """Write the summary, which marks the run as finished."""
    write_whole(folder.summary_file, (json.dumps(summary, indent=2) + "\n").encode())
