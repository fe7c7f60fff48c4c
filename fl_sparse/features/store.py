"""Stored features: written once by whichever process comes first, read by memory-mapping, checked by their hash."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from fl_sparse.features.pooled import Features

log = logging.getLogger("fl_sparse.features")


def feature_key(shard_digest: str, encoder_digest: str, precision: str) -> str:
    """Return the name of the features that follow from a shard, an encoder and the arithmetic."""
    return hashlib.sha256("\n".join((shard_digest, encoder_digest, precision)).encode()).hexdigest()


def stored_features(folder: Path, key: str, compute: Callable[[], Features]) -> Features:
    """Return the features under a key, memory-mapped; computed and written once, across processes.

    A file whose bytes do not match its hash is named on the log and rebuilt.
    """
    path = folder / f"{key}.safetensors"
    found = _read(path)
    if found is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    with locked(path):
        found = _read(path)
        if found is None:
            _write(path, compute())
            found = _read(path)
    if found is None:
        raise OSError(f"{path} cannot be read back")
    return found


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock among all processes of this machine; it is released when its holder ends, however."""
    with path.with_suffix(".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)


def _write(path: Path, features: Features) -> None:
    cls, mean = np.ascontiguousarray(features.cls), np.ascontiguousarray(features.mean)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        save_file({"cls": cls, "mean": mean}, name, metadata={"sha256": _digest(cls, mean)})
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _digest(cls: NDArray[np.float32], mean: NDArray[np.float32]) -> str:
    digest = hashlib.sha256(repr(cls.shape).encode())
    digest.update(np.ascontiguousarray(cls).data)
    digest.update(np.ascontiguousarray(mean).data)
    return digest.hexdigest()


def _read(path: Path) -> Features | None:
    """Map a file; None if it is absent or damaged."""
    if not path.exists():
        return None
    try:
        features, digest = _map(path)
        if _digest(features.cls, features.mean) == digest:
            return features
        reason = "its bytes do not match its hash"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error)
    log.warning("stored features %s are damaged (%s): computing them again", path, reason)
    return None


def _map(path: Path) -> tuple[Features, str]:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > path.stat().st_size:
            raise ValueError("its header is longer than the file")
        header = json.loads(file.read(size))
    arrays = {}
    for name in ("cls", "mean"):
        entry = header[name]
        arrays[name] = np.memmap(
            path, dtype="<f4", mode="r", offset=8 + size + int(entry["data_offsets"][0]), shape=tuple(entry["shape"])
        )
    return Features(arrays["cls"], arrays["mean"]), str(header["__metadata__"]["sha256"])
