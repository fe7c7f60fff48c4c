"""Where shards and features are kept between processes and runs."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fl_sparse.errors import InputError
from fl_sparse.features.store import locked
from fl_sparse.shard.file import load_shard, save_shard
from fl_sparse.shard.image_shard import ImageShard


def store_folder() -> Path:
    """Return the folder of stored shards and features: ``$FL_SPARSE_STORE``, else ``~/.cache/fl-sparse``."""
    chosen = os.environ.get("FL_SPARSE_STORE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "fl-sparse"


def make_store(folder: Path) -> None:
    """Make a folder of the store.

    Raises
    ------
    InputError
        If it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"store {folder}: {reason}; set FL_SPARSE_STORE to a folder that can be written to") from None


def shard_key(**facts: Any) -> str:
    """Return the name of the shard that follows from these facts (source's fingerprint, rows, mask, sizes, seed)."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def stored_shard(store: Path, key: str, build: Callable[[], ImageShard]) -> ImageShard:
    """Return the stored shard, built and written once by whichever process comes first; memory-mapped."""
    path = store / "shards" / f"{key}.safetensors"
    if not path.exists():
        make_store(path.parent)
        with locked(path):
            if not path.exists():
                save_shard(path, build())
    # Its features carry the digest in their key; a device's own shard file is verified when it is given.
    return load_shard(path, verify=False)
