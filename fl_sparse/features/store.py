"""Stored features: written once by whichever process comes first, memory-mapped afterwards, checked by their hash.

The file is safetensors; reading it needs NumPy alone, since a device opens it in a new process for every message.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fl_sparse.atomic_file import whole_file
from fl_sparse.features.pooled import Features
from fl_sparse.threads import in_threads

log = logging.getLogger("fl_sparse.features")

TENSOR = "cls+mean"
"""Class token and mean side by side."""
HASH = "sha256 of 4 MiB blocks"
"""What the header calls the hash. Both names are part of the key, so that files of another layout are not looked at."""
BLOCK_BYTES = 4 * 2**20

LENGTH_BYTES = 8
"""A safetensors file starts with the length of its JSON header, little-endian."""


def feature_key(shard_digest: str, encoder_digest: str, precision: str) -> str:
    """Return the name, a SHA-256 in hex, of the features that follow from a shard, an encoder and the arithmetic."""
    return hashlib.sha256("\n".join((shard_digest, encoder_digest, precision, TENSOR, HASH)).encode()).hexdigest()


def stored_features(folder: Path, key: str, compute: Callable[[], Features]) -> Features:
    """Return the features under a key, memory-mapped and read-only; computed once among all processes of the machine.

    A file whose bytes do not match its hash is named on the log and replaced.

    Parameters
    ----------
    folder
        Where features are kept; made if it is missing.
    key
        From `feature_key`.
    compute
        Called if nothing good is stored, while this process holds the key's lock.

    Raises
    ------
    OSError
        If the folder cannot be written, or what was written cannot be read back.
    """
    path = folder / f"{key}.safetensors"
    found = _read(path)
    if found is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    with locked(path):
        # Another process may have written it while this one waited.
        found = _read(path, say=False)
        if found is None:
            _write(path, compute())
            found = _read(path)
    if found is None:
        raise OSError(f"stored features {path} cannot be read back")
    return found


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock among all processes of the machine; the system releases it when its holder ends, however."""
    with path.with_suffix(".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _write(path: Path, features: Features) -> None:
    """Write features so that a reader finds all or nothing."""
    from safetensors.numpy import save_file

    tensors = {TENSOR: np.ascontiguousarray(features.both)}
    with whole_file(path) as partial:
        save_file(tensors, partial, metadata={HASH: _digest(features)})


def _digest(features: Features) -> str:
    """Return the hash of the shape and of the hashes of all blocks, which threads share out."""
    tensor = np.ascontiguousarray(features.both)
    data = tensor.reshape(-1).view(np.uint8)
    hashes = [b""] * -(-data.size // BLOCK_BYTES)

    def part(numbers: slice) -> None:
        for number in range(numbers.start, numbers.stop):
            block = data[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]
            hashes[number] = hashlib.sha256(block.data).digest()

    in_threads(part, len(hashes), work=data.size)
    return hashlib.sha256(repr(tensor.shape).encode() + b"".join(hashes)).hexdigest()


def _read(path: Path, *, say: bool = True) -> Features | None:
    """Map a file; None if it is absent, or damaged, which is said on the log."""
    try:
        features, digest = _map(path)
        if _digest(features) == digest:
            return features
        reason = "its bytes do not match its hash"
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
    if say:
        log.warning("stored features %s are damaged (%s); computing them again", path, reason)
    return None


def _map(path: Path) -> tuple[Features, str]:
    """Return a file's tensors, memory-mapped, and the hash its header states."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        if length > path.stat().st_size:
            raise ValueError("its header is longer than the file")
        header = json.loads(file.read(length))

    offset = LENGTH_BYTES + length + int(header[TENSOR]["data_offsets"][0])
    shape = tuple(header[TENSOR]["shape"])
    both = np.asarray(np.memmap(path, dtype="<f4", mode="r", offset=offset, shape=shape))
    return Features(both), str(header["__metadata__"][HASH])
