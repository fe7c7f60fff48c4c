"""The residuals of error feedback in files of their own, so that a simulation goes on exactly.

Each client's residual is one file beside the checkpoints, named by its digest and written when it has changed. A
checkpoint names the files that a run goes on from. Files that none of the last checkpoints names are deleted. On
devices and Ray's workers, residuals stay with the clients, and a run that goes on begins with none.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.codec.residual import Residual
from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.model.parameters import Model
from fl_sparse.tensor_file import read_tensors, write_tensors
from fl_sparse.wire import ClientDescription
from server.checkpoint import LAST
from strategies.round.groups import AssignmentRule
from strategies.round.memory import held_bytes

STATE = "residual-files"
"""The name of the checkpoint's state that names the files."""
FILES = "client-*.safetensors"
MOST_BYTES = 2 * 2**30
DIGEST_BYTES = 16
WRITERS = 8


class ResidualFiles:
    """Writes, reads and deletes the residual files of a run.

    Parameters
    ----------
    folder
        The files' folder; made when the first file is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[int, tuple[int, bytes]] = {}
        self._named: deque[set[str]] = deque(maxlen=LAST)

    def save(self, residuals: Mapping[int, Residual]) -> dict[str, dict[str, NDArray[Any]]]:
        """Write changed residuals; return the checkpoint's state that names all files, empty without residuals."""
        changed = {
            client: residual
            for client, residual in residuals.items()
            if client not in self._known or self._known[client][0] != residual.round
        }
        # A file waits for the disk, which serves many at a time.
        with ThreadPoolExecutor(WRITERS) as writers:
            digests = list(writers.map(self._write, changed, changed.values()))
        for (client, residual), digest in zip(changed.items(), digests, strict=True):
            self._known[client] = residual.round, digest
        self._known = {client: known for client, known in self._known.items() if client in residuals}
        clients = sorted(self._known)
        self._named.append({self._path(client, self._known[client][1]).name for client in clients})
        if not clients:
            return {}
        named = b"".join(self._known[client][1] for client in clients)
        state: dict[str, NDArray[Any]] = {
            "clients": np.array(clients, dtype=np.int64),
            "rounds": np.array([self._known[client][0] for client in clients], dtype=np.int64),
            "digests": np.frombuffer(named, dtype=np.uint8).reshape(len(clients), DIGEST_BYTES),
        }
        return {STATE: state}

    def drop_unnamed(self) -> None:
        """Delete the files that none of the last checkpoints names; call this once the newest is written."""
        named = set[str]().union(*self._named)
        for path in self._folder.glob(FILES):
            if path.name not in named:
                path.unlink(missing_ok=True)

    def load(self, state: Mapping[str, NDArray[Any]]) -> dict[int, Residual]:
        """Return the residuals that a checkpoint's state names.

        Raises
        ------
        InputError
            If a file is missing, or is not what the checkpoint names.
        """
        named = zip(state["clients"].tolist(), state["rounds"].tolist(), state["digests"], strict=True)
        self._known = {client: (number, digest.tobytes()) for client, number, digest in named}
        # Files of earlier checkpoints stay until `LAST` newer checkpoints are written.
        self._named.append({path.name for path in self._folder.glob(FILES)})
        return {client: self._read(client, *known) for client, known in self._known.items()}

    def _path(self, client: int, digest: bytes) -> Path:
        return self._folder / f"client-{client}-{digest.hex()}.safetensors"

    def _write(self, client: int, residual: Residual) -> bytes:
        digest = digest_of(residual)
        path = self._path(client, digest)
        if not path.exists():
            self._folder.mkdir(exist_ok=True)
            tensors = {name: np.ascontiguousarray(values) for name, values in residual.values.items()}
            write_tensors(path, tensors, {"round": str(residual.round)})
        return digest

    def _read(self, client: int, number: int, digest: bytes) -> Residual:
        path = self._path(client, digest)
        residual = Residual(number, read_tensors(path)[0])
        if digest_of(residual) != digest:
            raise InputError(f"{path}: not the residual that the checkpoint names; the file is damaged")
        return residual


def digest_of(residual: Residual) -> bytes:
    """Return the digest of a residual's round, and of each parameter's name, shape and values."""
    written = hashlib.blake2b(str(residual.round).encode(), digest_size=DIGEST_BYTES)
    for name in sorted(residual.values):
        values = np.ascontiguousarray(residual.values[name])
        written.update(f" {name} {values.shape} ".encode())
        written.update(values.astype("<f4", copy=False).tobytes())
    return written.digest()


def check_residual_files(
    config: RunConfig, rule: AssignmentRule, clients: Iterable[ClientDescription], model: Model
) -> None:
    """Refuse to keep residuals that would take too much of the disk.

    Parameters
    ----------
    config
        The run's configuration.
    rule
        Who trains which units.
    clients
        All clients, in any order.
    model
        The whole model.

    Raises
    ------
    InputError
        With the bytes foreseen, and the way out.
    """
    if not config.error_feedback or not config.keep_residuals:
        return
    needed = bytes_foreseen(config, rule, clients, model)
    if needed > MOST_BYTES:
        raise InputError(
            f"the residuals of error feedback would take {needed / 1e9:.3g} GB in checkpoints, more than "
            f"{MOST_BYTES / 1e9:.3g}; expected fewer clients, smaller hidden-widths, or keep-residuals = false, with "
            "which a run that goes on begins with none"
        )


def bytes_foreseen(config: RunConfig, rule: AssignmentRule, clients: Iterable[ClientDescription], model: Model) -> int:
    """Return a bound on the bytes of all files, those included that the last checkpoints still name."""
    everyone = sorted(clients, key=lambda client: client.partition_id)
    sizes = sorted(
        (held_bytes(group, model) for group in rule.place(1, everyone) for _ in group.positions), reverse=True
    )
    cohort = config.clients_per_round or len(everyone)
    ever = sizes[: min(len(everyone), config.num_server_rounds * cohort)]
    return sum(ever) + LAST * sum(sizes[:cohort])
