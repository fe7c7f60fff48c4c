"""Checkpoints: all that a run needs to go on exactly, written after each round as a whole or not at all.

Every draw follows from the configuration and the round. So weights, the frozen standardizer and the named states of
strategy, rule and clients are the whole state. The clients' accuracies at the round chosen so far are stored for the
summary. A state is a mapping of arrays under a name of its own; nothing here knows what is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from fl_sparse.atomic_file import write_whole
from fl_sparse.errors import InputError
from fl_sparse.features.statistics import Standardizer
from fl_sparse.learn.task import Parameters
from fl_sparse.nested_names import flattened, nested, under
from fl_sparse.tensor_file import read_tensors
from server.client_accuracy import ClientAccuracy

LAST = 3
"""How many of a run's checkpoints stay, the newest."""
WEIGHTS, STANDARDIZER, CLIENTS = "weights", "standardizer", "clients"
OWN = (WEIGHTS, STANDARDIZER, CLIENTS)
"""Names that no state may have."""
OLD_STEPS = "optimizer-steps"
"""Where checkpoints of version 0.1.0 hold the clients' optimiser steps."""


@dataclass(frozen=True)
class Checkpoint:
    """The state after a round."""

    round: int
    parameters: Parameters = field(repr=False)
    standardizer: Standardizer | None = field(repr=False)
    classes: tuple[str, ...]
    states: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict, repr=False)
    """Name of a state -> its arrays: all that outlives a round beside the model."""
    by_client: ClientAccuracy | None = field(default=None, repr=False)
    """The clients' accuracies at the round chosen so far, None if unknown."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, last: int = LAST) -> Path:
    """Write a checkpoint atomically and drop all but the last few."""
    groups: dict[str, Mapping[str, NDArray[Any]]] = {WEIGHTS: checkpoint.parameters}
    if checkpoint.standardizer is not None:
        groups[STANDARDIZER] = {
            "mean": checkpoint.standardizer.mean,
            "inverse_std": checkpoint.standardizer.inverse_std,
        }
    metadata = {"round": str(checkpoint.round), "classes": "\n".join(checkpoint.classes)}
    if (found := checkpoint.by_client) is not None:
        groups[CLIENTS] = {"ids": found.clients, "accuracy": found.accuracy}
        metadata |= {"clients-round": str(found.round), "clients-of": found.of}
    tensors = {name: np.asarray(array, order="C") for name, array in flattened({**checkpoint.states, **groups}).items()}
    path = folder / f"round-{checkpoint.round:06d}.safetensors"
    write_whole(path, save(tensors, metadata=metadata))
    for old in stored_checkpoints(folder)[:-last]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    InputError
        If the file is missing, truncated or no checkpoint.
    """
    try:
        tensors, metadata = read_tensors(path)
        number = int(metadata["round"])
        by_client = None
        if "clients-round" in metadata:
            held = under(tensors, CLIENTS + ".")
            by_client = ClientAccuracy(
                int(metadata["clients-round"]), metadata["clients-of"], held["ids"], held["accuracy"]
            )
        classes = tuple(metadata["classes"].split("\n"))
    except (InputError, KeyError, ValueError) as error:
        raise InputError(f"checkpoint {path} cannot be read: {error}") from None
    groups = nested(tensors)
    standardizer = Standardizer(**groups[STANDARDIZER]) if STANDARDIZER in groups else None
    states = {name: arrays for name, arrays in groups.items() if name not in OWN}
    if OLD_STEPS in metadata:
        states["optimizer"]["steps"] = np.array(int(metadata[OLD_STEPS]), dtype=np.int64)
    return Checkpoint(number, groups.get(WEIGHTS, {}), standardizer, classes, states, by_client)


def stored_checkpoints(folder: Path) -> list[Path]:
    """Return the files of a run's checkpoints, oldest first."""
    return sorted(folder.glob("round-*.safetensors"))


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint of a run, None if it has none yet."""
    found = stored_checkpoints(folder)
    return load_checkpoint(found[-1]) if found else None
