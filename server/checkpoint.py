"""Checkpoints: all that a run needs to go on exactly, after each round, whole or absent.

Every draw follows from the configuration and the round, so weights, the frozen standardizer, the server optimiser's
moments and, where it is kept, the clients' optimiser state are the whole state; the clients' accuracies at the round
chosen so far wait here for the summary.
"""

from __future__ import annotations

from collections import defaultdict
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
from fl_sparse.tensor_file import read_tensors
from fl_sparse.wire.exchange import Parameters
from server.client_accuracy import ClientAccuracy
from strategies.state.optimizer_state import KeptState

KEPT = 3
WEIGHTS, STANDARDIZER, SERVER, CLIENTS, OPTIMIZER = "weights.", "standardizer.", "server.", "clients.", "optimizer."
STEPS = "optimizer-steps"


@dataclass(frozen=True)
class Checkpoint:
    """The state after a round."""

    round: int
    parameters: Parameters = field(repr=False)
    standardizer: Standardizer | None = field(repr=False)
    classes: tuple[str, ...]
    moments: Mapping[str, Parameters] = field(default_factory=dict, repr=False)
    """Of the server optimiser, by moment and parameter; none before the first round and under plain averaging."""
    by_client: ClientAccuracy | None = field(default=None, repr=False)
    """At the round chosen so far, if it is known."""
    kept: KeptState = field(default_factory=KeptState, repr=False)
    """The clients' optimiser state under ``optimizer-state = kept``."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, kept: int = KEPT) -> Path:
    """Write a checkpoint atomically and drop all but the last few."""
    tensors: dict[str, NDArray[Any]] = {
        WEIGHTS + name: np.ascontiguousarray(values) for name, values in checkpoint.parameters.items()
    }
    if checkpoint.standardizer is not None:
        tensors[STANDARDIZER + "mean"] = checkpoint.standardizer.mean
        tensors[STANDARDIZER + "inverse_std"] = checkpoint.standardizer.inverse_std
    for prefix, moments in ((SERVER, checkpoint.moments), (OPTIMIZER, checkpoint.kept.moments)):
        for moment, held in moments.items():
            tensors |= {f"{prefix}{moment}.{name}": np.ascontiguousarray(values) for name, values in held.items()}
    path = folder / f"round-{checkpoint.round:06d}.safetensors"
    metadata = {"round": str(checkpoint.round), "classes": "\n".join(checkpoint.classes)}
    if (found := checkpoint.by_client) is not None:
        tensors |= {CLIENTS + "ids": found.clients, CLIENTS + "accuracy": found.accuracy}
        metadata |= {"clients-round": str(found.round), "clients-of": found.of}
    if checkpoint.kept.steps:
        metadata[STEPS] = str(checkpoint.kept.steps)
    write_whole(path, save(tensors, metadata=metadata))
    for old in stored_checkpoints(folder)[:-kept]:
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
        number, steps = int(metadata["round"]), int(metadata.get(STEPS, 0))
        by_client = None
        if "clients-round" in metadata:
            ids, accuracy = tensors[CLIENTS + "ids"], tensors[CLIENTS + "accuracy"]
            by_client = ClientAccuracy(int(metadata["clients-round"]), metadata["clients-of"], ids, accuracy)
    except (KeyError, ValueError) as error:
        # The cause of an InputError is its reason without the file's name.
        raise InputError(f"checkpoint {path} cannot be read: {error.__cause__ or error}") from None
    weights = {name.removeprefix(WEIGHTS): value for name, value in tensors.items() if name.startswith(WEIGHTS)}
    standardizer = None
    if STANDARDIZER + "mean" in tensors:
        standardizer = Standardizer(tensors[STANDARDIZER + "mean"], tensors[STANDARDIZER + "inverse_std"])
    classes = tuple(metadata["classes"].split("\n"))
    kept = KeptState(steps, _moments(tensors, OPTIMIZER))
    return Checkpoint(number, weights, standardizer, classes, _moments(tensors, SERVER), by_client, kept)


def _moments(tensors: Mapping[str, NDArray[np.float32]], prefix: str) -> dict[str, Parameters]:
    moments: dict[str, dict[str, NDArray[np.float32]]] = defaultdict(dict)
    for key, value in tensors.items():
        if key.startswith(prefix):
            moment, _, name = key.removeprefix(prefix).partition(".")
            moments[moment][name] = value
    return dict(moments)


def stored_checkpoints(folder: Path) -> list[Path]:
    """Return the files of a run's checkpoints, oldest first."""
    return sorted(folder.glob("round-*.safetensors"))


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint of a run, None if it has none yet."""
    found = stored_checkpoints(folder)
    return load_checkpoint(found[-1]) if found else None
