"""Tensors in a safetensors file: written in one step; read by the safetensors library, or by memory-mapping.

The format (https://huggingface.co/docs/safetensors): a little-endian uint64 with the length of the header; the header,
JSON padded with spaces, which maps a tensor's name to its dtype, shape and place among the bytes that follow, and
``__metadata__`` to strings.

The library writes the metadata in any order and copies tensors into memory. This module writes files so that equal
contents give equal bytes, and maps shards and features so that only what is read takes memory. Mapping needs NumPy
alone: a device that starts for one message imports nothing else.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fl_sparse.atomic_file import whole_file
from fl_sparse.errors import InputError

_TYPES = {"U8": "uint8", "U16": "uint16", "U32": "uint32", "I64": "int64", "F32": "float32"}
_NAMES = {name: code for code, name in _TYPES.items()}
_LENGTH_BYTES = 8
_ALIGNMENT = 8
_MAX_HEADER = 100_000_000
_METADATA = "__metadata__"


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write a file so that it appears whole or not at all.

    Parameters
    ----------
    path
        The file; an existing one is replaced.
    tensors
        Name -> contiguous array of uint8, uint16, uint32, int64 or float32.
    metadata
        Name -> string.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    # Write the widest items first: every tensor is then aligned to its items.
    order = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    entries: dict[str, Any] = {_METADATA: dict(metadata)}
    end = 0
    for name in order:
        start, end = end, end + tensors[name].nbytes
        shape = list(tensors[name].shape)
        entries[name] = {"dtype": _NAMES[tensors[name].dtype.name], "shape": shape, "data_offsets": [start, end]}
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % _ALIGNMENT)
    with whole_file(path) as partial, partial.open("wb") as file:
        file.write(len(header).to_bytes(_LENGTH_BYTES, "little"))
        file.write(header)
        for name in order:
            little = tensors[name].astype(tensors[name].dtype.newbyteorder("<"), copy=False)
            file.write(np.ascontiguousarray(little).reshape(-1).view(np.uint8).data)


def read_tensors(
    path: Path, *, kind: str = "safetensors file", framework: Literal["np", "pt"] = "np"
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a file's tensors and metadata, all read into memory.

    Parameters
    ----------
    path
        The file.
    kind
        What the file is expected to be, for the message.
    framework
        ``np`` for NumPy arrays; ``pt`` for PyTorch tensors, which also have types that NumPy lacks, such as bfloat16.

    Returns
    -------
    tensors, metadata
        By name; the metadata is empty if the file has none.

    Raises
    ------
    InputError
        If the file is missing, unreadable, cut short or not of this format; the message names it.
    """
    with _opened(path, kind, framework) as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}, stored.metadata() or {}  # noqa: SIM118


def read_metadata(path: Path, *, kind: str = "safetensors file") -> dict[str, str]:
    """Return a file's metadata without reading tensors. Parameters and errors are those of `read_tensors`."""
    with _opened(path, kind, "np") as stored:
        return stored.metadata() or {}


@contextmanager
def _opened(path: Path, kind: str, framework: str) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework=framework) as stored:
            yield stored
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole {kind} ({error})") from error


def map_tensors(path: Path, key: str, *, kind: str) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return a file's tensors and metadata; the tensors are mapped into memory, read-only.

    Parameters
    ----------
    path
        The file.
    key
        The one entry that its metadata must have.
    kind
        What the file is expected to be, for messages: ``shard``.

    Returns
    -------
    tensors, metadata
        The tensors are views of the file: they cost memory only where they are read.

    Raises
    ------
    InputError
        If the file is missing, unreadable, cut short or not of this format; the message names it.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= _LENGTH_BYTES:
                raise InputError(f"{path}: {size} bytes, too short for a {kind}")
            data = np.memmap(file, dtype=np.uint8, mode="r")
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    header_size = int.from_bytes(data[:_LENGTH_BYTES].tobytes(), "little")
    if header_size > _MAX_HEADER or data[_LENGTH_BYTES : _LENGTH_BYTES + 1].tobytes() != b"{":
        raise InputError(f"{path}: not a {kind} (no safetensors header)")
    body = _LENGTH_BYTES + header_size
    if body > size:
        raise InputError(f"{path}: cut short, {size} bytes where its header alone ends at {body}")
    entries = _parsed(path, data[_LENGTH_BYTES:body].tobytes())
    metadata = entries.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise InputError(f"{path}: damaged header (metadata is not a map of strings)")
    # Check this before the tensors: another kind of file may have tensors of other types and is not damaged.
    if set(metadata) != {key}:
        raise InputError(f"{path}: not a {kind} ({key!r} is missing from its header)")
    tensors = {name: _mapped(path, name, entry, data[body:]) for name, entry in entries.items()}
    expected = body + sum(tensor.nbytes for tensor in tensors.values())
    if expected != size:
        raise InputError(f"{path}: {size} bytes where its header describes {expected}")
    return tensors, metadata


def _parsed(path: Path, header: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            raise ValueError("a name appears twice")
        return entries

    try:
        entries = json.loads(header.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: damaged header ({reason})") from error
    if not isinstance(entries, dict):
        raise InputError(f"{path}: damaged header (not a map)")
    return entries


def _mapped(path: Path, name: str, entry: object, body: NDArray[np.uint8]) -> NDArray[Any]:
    match entry:
        case {"dtype": str(code), "shape": list(shape), "data_offsets": [int(start), int(end)]} if (
            code in _TYPES
            and all(isinstance(length, int) and length >= 0 for length in shape)
            and 0 <= start <= end
            and end - start == math.prod(shape) * np.dtype(_TYPES[code]).itemsize
            and math.prod(length for length in shape if length) < 2**62
        ):
            if end > len(body):
                raise InputError(f"{path}: cut short, {len(body)} bytes of tensors where {name!r} ends at {end}")
            # Make a plain array: slices of a memmap are memmaps, which take longer to make.
            return np.asarray(body[start:end].view(np.dtype(_TYPES[code]).newbyteorder("<")).reshape(shape))
        case _:
            raise InputError(f"{path}: damaged header (tensor {name!r})")
