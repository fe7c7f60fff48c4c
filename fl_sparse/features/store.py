"""Stored features: written once by whichever process comes first, memory-mapped afterwards, checked by their hash.

A file is safetensors and is read with NumPy alone: a device opens it in a new process for every message.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fl_sparse.errors import InputError
from fl_sparse.features.pooled import Features
from fl_sparse.tensor_file import map_tensors, write_tensors
from fl_sparse.threads import in_threads

log = logging.getLogger("fl_sparse.features")

TENSOR = "cls+mean"
"""Class token and mean side by side."""
HASH = "sha256 of 4 MiB blocks"
"""What the header calls the hash. Like `TENSOR` it is part of the key: a file of another layout has another name."""
BLOCK_BYTES = 4 * 2**20


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
            features = compute()
            write_tensors(path, {TENSOR: features.both}, {HASH: _digest(features)})
            found = _read(path)
    if found is None:
        raise OSError(f"stored features {path} cannot be read back")
    return found


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock among all processes of the machine; the system releases it when its holder ends, however."""
    # Imported where the lock is taken: a device whose features are stored takes none.
    from filelock import FileLock

    with FileLock(path.with_suffix(".lock")):
        yield


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
    if not path.exists():
        return None
    try:
        tensors, metadata = map_tensors(path, HASH, kind="file of features")
        features = Features(tensors[TENSOR])
        if features.both.dtype == np.float32 and _digest(features) == metadata[HASH]:
            return features
        reason = "its bytes do not match its hash"
    except InputError as error:
        reason = str(error).removeprefix(f"{path}: ")
    except KeyError:
        reason = f"it has no tensor {TENSOR!r}"
    if say:
        log.warning("stored features %s are damaged (%s); computing them again", path, reason)
    return None
