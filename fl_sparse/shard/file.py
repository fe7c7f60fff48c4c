"""A shard as a file: one safetensors file whose metadata holds the header, checked in full when it is read."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.errors import InputError
from fl_sparse.masks.draw import SPLITS
from fl_sparse.masks.spec import MaskSpec
from fl_sparse.shard.image_shard import ImageShard, ShardHeader, index_type, shard_digest, stored_tensors
from fl_sparse.tensor_file import map_tensors, write_tensors

# The one metadata key, with the version of the format.
_KEY = "fl-sparse-shard-1"


def require_new_file(path: Path, *, force: bool = False) -> None:
    """Refuse, before any work is done, a place where a command cannot write its result.

    Parameters
    ----------
    path
        Of the file to write.
    force
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        If a folder is there, its folder is missing, or a file is there and may not be replaced.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected the name of a file to write")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}")
    if path.exists() and not force:
        raise InputError(f"{path}: exists already; choose another name, or replace it with --force")


def save_shard(path: str | Path, shard: ImageShard) -> None:
    """Write a shard; the file appears whole or not at all.

    Raises
    ------
    InputError
        If the file cannot be written; the message names it.
    """
    target = Path(path)
    try:
        write_tensors(target, stored_tensors(shard), {_KEY: _header_text(shard.header)})
    except OSError as error:
        raise InputError(f"{target}: cannot write the shard ({(error.strerror or str(error)).lower()})") from error


def load_shard(path: str | Path, *, verify: bool = True) -> ImageShard:
    """Map a shard into memory, read-only.

    Parameters
    ----------
    path
        Of a file that `save_shard` wrote.
    verify
        Compare every byte with the digest in the header. Without it only the header and the shapes are checked.

    Raises
    ------
    InputError
        If the file is missing, cut short, damaged or no shard; the message names it.
    """
    source = Path(path)
    tensors, metadata = map_tensors(source, _KEY, kind="shard")
    try:
        header = _parsed_header(json.loads(metadata[_KEY]))
        if _header_text(header) != metadata[_KEY]:
            raise ValueError("not as it was written")
        problem = _misshapen(header, tensors)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{source}: damaged header ({_one_line(error)})") from error
    if problem:
        raise InputError(f"{source}: damaged shard ({problem})")
    if verify:
        if shard_digest(header, tensors) != header.digest:
            raise InputError(f"{source}: damaged shard (its bytes do not match its SHA-256)")
        problem = _inconsistent(header, tensors)
        if problem:
            raise InputError(f"{source}: damaged shard ({problem})")
    return _assembled(header, tensors)


def _header_text(header: ShardHeader) -> str:
    return json.dumps(header.record(), sort_keys=True)


def _parsed_header(record: dict[str, Any]) -> ShardHeader:
    """Return the header; any wrong type or value raises ValueError, TypeError or KeyError."""
    kinds: dict[str, type | tuple[type, ...]] = {
        "image_size": int,
        "patch_size": int,
        "mask": dict,
        "data_seed": int,
        "split": str,
        "classes": list,
        "source": str,
        "left_out": int,
        "exposed": (int, float),
        "digest": str,
    }
    if set(record) != {field.name for field in fields(ShardHeader)}:
        raise ValueError("fields are missing or unknown")
    for name, kind in kinds.items():
        if not isinstance(record[name], kind) or isinstance(record[name], bool):
            raise ValueError(f"{name}: {record[name]!r}")
    if not all(isinstance(name, str) for name in record["classes"]) or record["split"] not in SPLITS:
        raise ValueError("classes or split")
    mask = record["mask"]
    if not isinstance(mask["views"], int) or not isinstance(mask["ratio"], (int, float)):
        raise ValueError("mask")
    header = ShardHeader(**(record | {"mask": MaskSpec(**mask), "classes": tuple(record["classes"])}))
    if header.left_out < 0 or header.data_seed < 0 or not 0 <= header.exposed <= 1 or header.num_patches < 1:
        raise ValueError("a number is out of its range")
    return header


def _misshapen(header: ShardHeader, tensors: dict[str, NDArray[Any]]) -> str:
    """Return what is wrong with the tensors' names, types and shapes, or nothing."""
    names = {"patches", "kept", "labels", "rows"}
    ragged = "offsets" in tensors
    if set(tensors) != names | ({"offsets"} if ragged else set()):
        return f"tensors {', '.join(sorted(tensors)) or 'none'}"
    patches, kept, labels, rows = (tensors[name] for name in ("patches", "kept", "labels", "rows"))
    types = {name: tensor.dtype.name for name, tensor in tensors.items()}
    wanted = {"patches": "uint8", "kept": index_type(header.num_patches).name, "labels": "int64", "rows": "int64"}
    for name, wanted_type in (wanted | ({"offsets": "int64"} if ragged else {})).items():
        if types[name] != wanted_type:
            return f"{name} is {types[name]}, expected {wanted_type}"
    if labels.ndim != 1 or not len(labels) or rows.shape != labels.shape:
        return f"labels {labels.shape} and rows {rows.shape}"
    lead = (header.mask.views, len(labels))
    if ragged:
        if kept.ndim != 1 or tensors["offsets"].shape != (lead[0] * lead[1] + 1,):
            return f"offsets {tensors['offsets'].shape} and kept {kept.shape}"
    elif kept.ndim != 3 or kept.shape[:2] != lead or not kept.shape[2]:
        return f"kept {kept.shape}, expected {lead[0]}×{lead[1]}×K"
    if patches.shape != (*kept.shape, header.patch_values):
        return f"patches {patches.shape}, expected {(*kept.shape, header.patch_values)}"
    return ""


def _inconsistent(header: ShardHeader, tensors: dict[str, NDArray[Any]]) -> str:
    """Return what is wrong with the tensors' values, or nothing."""
    kept, labels, offsets = tensors["kept"].reshape(-1), tensors["labels"], _offsets(tensors)
    if offsets[0] != 0 or offsets[-1] != len(kept) or not (np.diff(offsets) > 0).all():
        return "offsets do not cut the patches into images"
    ascending = np.diff(kept.astype(np.int64)) > 0
    ascending[offsets[1:-1] - 1] = True
    if not ascending.all() or int(kept.max()) >= header.num_patches:
        return f"kept places are not ascending below {header.num_patches}"
    if labels.min() < -1 or labels.max() >= len(header.classes) or tensors["rows"].min() < 0:
        return "labels or rows out of range"
    return ""


def _assembled(header: ShardHeader, tensors: dict[str, NDArray[Any]]) -> ImageShard:
    return ImageShard(
        patches=tensors["patches"].reshape(-1, header.patch_values),
        kept=tensors["kept"].reshape(-1),
        offsets=_offsets(tensors),
        labels=tensors["labels"],
        rows=tensors["rows"],
        header=header,
    )


def _offsets(tensors: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    offsets: NDArray[np.int64]
    if "offsets" in tensors:
        offsets = tensors["offsets"]
        return offsets
    views, images, keep = tensors["kept"].shape
    even: NDArray[np.int64] = np.arange(views * images + 1, dtype=np.int64) * keep
    return even


def _one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
