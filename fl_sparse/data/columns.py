"""Which columns of a table hold images, masks, labels and client ids."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.errors import InputError, nearest

if TYPE_CHECKING:
    import pyarrow as pa

MASK_COLUMN = "mask"
"""An image column of this name is a validity mask: black pixels are invalid."""

Features = Mapping[str, Any]
"""Hugging Face features by column, such as ``{"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}``."""


def stored_features(schema: "pa.Schema") -> Features:
    """Return the Hugging Face features in a schema's metadata, or nothing if there are none to read."""
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(text)["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def holds_images(kind: "pa.DataType") -> bool:
    """Tell whether a column of this type can hold encoded images: bytes, or a struct of bytes and path."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        position = kind.get_field_index("bytes")
        if position < 0:
            return False
        inner = kind.field(position).type
        return bool(pa.types.is_null(inner)) or holds_images(inner)  # no type: every row holds a path instead
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def find_image_column(schema: "pa.Schema", asked: str, where: str) -> str:
    """Return the column asked for, or the only one that holds encoded images.

    Raises
    ------
    InputError
        If there is no such column, it holds no encoded images, or several do and none is called ``image``.
    """
    found = [field.name for field in schema if holds_images(field.type)]
    if asked:
        _check_exists(schema, asked, "image-column", where)
        if asked not in found:
            raise InputError(
                f"{where}: image-column {asked!r} holds {schema.field(asked).type}; "
                "expected encoded images (bytes, or a struct of bytes and path)"
            )
        return asked
    candidates = [name for name in found if name != MASK_COLUMN]
    if "image" in candidates or len(candidates) == 1:
        return "image" if "image" in candidates else candidates[0]
    if not candidates:
        raise InputError(f"{where}: no column of encoded images among: {', '.join(schema.names)}")
    raise InputError(f"{where}: several columns of images; set image-column to one of: {', '.join(candidates)}")


def find_mask_column(schema: "pa.Schema", image_column: str) -> str | None:
    """Return the column of validity masks, if there is one."""
    present = MASK_COLUMN in schema.names and image_column != MASK_COLUMN
    return MASK_COLUMN if present and holds_images(schema.field(MASK_COLUMN).type) else None


def find_label_column(schema: "pa.Schema", features: Features, asked: str, where: str) -> str:
    """Return the column asked for, ``label``, or the only one whose feature is a class label.

    Raises
    ------
    InputError
        If there is no such column, or it is not clear which one is meant.
    """
    if asked:
        _check_exists(schema, asked, "label-column", where)
        return asked
    if "label" in schema.names:
        return "label"
    feature_names = [name for name in schema.names if _class_names(features, name) is not None]
    candidates: list[str] = feature_names or [name for name in ("labels", "class", "target") if name in schema.names]
    if len(candidates) == 1:
        return candidates[0]
    raise InputError(f"{where}: no column named 'label'; set label-column to one of: {', '.join(schema.names)}")


def read_ids(table: "pa.Table", column: str, where: str) -> NDArray[Any] | None:
    """Return the natural client ids, (n,) integers or strings, or None for an empty column name.

    Raises
    ------
    InputError
        If there is no such column, or it holds anything else or a null.
    """
    if not column:
        return None
    _check_exists(table.schema, column, "id-column", where)
    return _integers_or_strings(table, column, "id-column", where)


def read_labels(
    tables: Mapping[str, "pa.Table"], column: str, features: Features
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """Return class names common to all tables, and the labels of each.

    Names come from the column's class-label feature; else string labels name themselves, sorted, and integer labels
    0 to C−1 are named by their digits.

    Parameters
    ----------
    tables
        Tables by what messages call them.
    column
        Integers (from 0) or strings.
    features
        Features of the columns.

    Returns
    -------
    classes
        C names.
    labels
        For each table, int64 (n,) in 0 to C−1.

    Raises
    ------
    InputError
        If a label is missing, of another type, or outside the classes.
    """
    read = {where: _integers_or_strings(table, column, "label-column", where) for where, table in tables.items()}
    names = _class_names(features, column)
    kinds = {values.dtype.kind for values in read.values()}
    if len(kinds) > 1:
        raise InputError(f"label-column {column!r}: integers in one table and strings in another; expected one type")
    if "U" in kinds:
        classes = names or tuple(sorted({str(value) for values in read.values() for value in values}))
        numbers = {name: number for number, name in enumerate(classes)}
        labels = {}
        for where, values in read.items():
            unknown = sorted({str(value) for value in values} - set(numbers))
            if unknown:
                raise InputError(f"{where}: unknown label {unknown[0]!r}{nearest(unknown[0], classes)}")
            labels[where] = np.array([numbers[str(value)] for value in values], dtype=np.int64)
        return classes, labels
    largest = max(int(values.max(initial=-1)) for values in read.values())
    classes = names or tuple(str(number) for number in range(largest + 1))
    for where, values in read.items():
        outside = np.flatnonzero((values < 0) | (values >= len(classes)))
        if len(outside):
            raise InputError(
                f"{where}, row {outside[0]}: label {values[outside[0]]}; expected a class from 0 to {len(classes) - 1}"
            )
    return classes, read


def _class_names(features: Features, column: str) -> tuple[str, ...] | None:
    feature = features.get(column)
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(str(name) for name in names) if names else None


def _check_exists(schema: "pa.Schema", column: str, key: str, where: str) -> None:
    if column not in schema.names:
        raise InputError(f"{where}: {key} {column!r} is not there{nearest(column, schema.names)}")


def _integers_or_strings(table: "pa.Table", column: str, key: str, where: str) -> NDArray[Any]:
    import pyarrow as pa

    values = table.column(column)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    integer = pa.types.is_integer(values.type)
    if not (integer or pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        raise InputError(f"{where}: {key} {column!r} holds {values.type}; expected integers or strings")
    if values.null_count:
        row = values.is_null().to_pylist().index(True)
        raise InputError(f"{where}, row {row}: {key} {column!r} is empty; expected a value in every row")
    return np.array(values.to_pylist(), dtype=np.int64 if integer else np.str_)
