"""The table of clients and what each holds, one row for each: ``clients.json`` in the run's folder.

Symbols: M clients, n_k training images of client k, V views, F features, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.atomic_file import write_whole
from fl_sparse.data.partition_picture import partition_counts
from fl_sparse.errors import InputError
from fl_sparse.federation import HeldOut
from fl_sparse.wire import ClientDescription
from server.population import Population

Numbers = NDArray[np.int64]

FLOAT16_BYTES, LABEL_BYTES = 2, 8
"""Bytes of a feature, as it would be sent once, and of a label, as shards store it."""
MOST_CELLS = 200_000
"""Most label counts that are written: more would make a file of megabytes."""


@dataclass(frozen=True, eq=False)
class ClientTable:
    """The clients in the order of their partition ids.

    Parameters
    ----------
    classes
        C names.
    clients
        Partition ids, int64 (M,).
    examples
        n_k, int64 (M,).
    shard_bytes
        Bytes of each client's training images as a shard, int64 (M,); None unless every client says so.
    feature_bytes
        Bytes of each client's features in float16, all views, with the labels, int64 (M,).
    labels
        Training images of each class, int64 (M, C); None where the server does not know them.
    """

    classes: tuple[str, ...]
    clients: Numbers = field(repr=False)
    examples: Numbers = field(repr=False)
    shard_bytes: Numbers | None = field(repr=False)
    feature_bytes: Numbers = field(repr=False)
    labels: Numbers | None = field(repr=False)

    @property
    def bytes_of_shards(self) -> int | None:
        """Bytes of all clients' shards together, None if they are not known."""
        return None if self.shard_bytes is None else int(self.shard_bytes.sum())

    @property
    def bytes_of_features(self) -> int:
        """Bytes of all clients' features together."""
        return int(self.feature_bytes.sum())


def client_table(clients: Mapping[int, ClientDescription], tables: HeldOut | None) -> ClientTable:
    """Return the table of the clients that answered round 0's question.

    Parameters
    ----------
    clients
        Node id -> description.
    tables
        The server's own images, and a simulation's split of the training images.
    """
    first = next(iter(clients.values()))
    if isinstance(clients, Population):
        ids, examples, vectors = np.arange(len(clients)), clients.sizes, clients.sizes * clients.views
        shard_bytes = clients.shard_bytes
    else:
        described = sorted(clients.values(), key=lambda client: client.partition_id)
        ids = np.array([client.partition_id for client in described], dtype=np.int64)
        examples = np.array([client.num_examples for client in described], dtype=np.int64)
        # A client's statistics are over all views of its training images: their n counts its vectors of features.
        vectors = np.array([client.statistics.n for client in described], dtype=np.int64)
        said = [client.shard_bytes for client in described if client.shard_bytes is not None]
        shard_bytes = np.array(said, dtype=np.int64) if len(said) == len(described) else None
    feature_bytes = vectors * first.num_features * FLOAT16_BYTES + examples * LABEL_BYTES
    labels = _labels(examples, tables, len(first.classes))
    return ClientTable(first.classes, ids, examples, shard_bytes, feature_bytes, labels)


def _labels(examples: Numbers, tables: HeldOut | None, num_classes: int) -> Numbers | None:
    """Return the label counts, None if clients hold other images than the server's split says.

    Devices have images of their own; under Ray and a natural mask, only the clients know which images show nothing.
    """
    if tables is None or not np.array_equal(examples, tables.split.parts.sizes):
        return None
    return partition_counts(tables.split.labels, tables.split.parts, num_classes)


def write_clients(path: Path, table: ClientTable) -> None:
    """Write the table as one JSON object of columns."""
    labels = None if table.labels is None or table.labels.size > MOST_CELLS else table.labels
    columns: dict[str, Any] = {"classes": table.classes}
    for name in ("clients", "examples", "shard_bytes", "feature_bytes"):
        column: Numbers | None = getattr(table, name)
        columns[name] = None if column is None else column.tolist()
    columns["labels"] = None if labels is None else labels.tolist()
    write_whole(path, (json.dumps(columns, separators=(",", ":")) + "\n").encode())


def read_clients(path: Path) -> ClientTable:
    """Read a table of clients.

    Raises
    ------
    InputError
        If the file is missing, or no table of clients.
    """
    try:
        columns = json.loads(path.read_text(encoding="utf-8"))
        classes = tuple(map(str, columns["classes"]))
        clients, examples, feature_bytes = (_column(columns[name]) for name in ("clients", "examples", "feature_bytes"))
        shard_bytes, labels = (
            None if columns[name] is None else _column(columns[name]) for name in ("shard_bytes", "labels")
        )
    except (OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise InputError(f"{path}: no table of clients: {error}") from None
    number = len(clients)
    shapes = [column.shape for column in (clients, examples, feature_bytes, shard_bytes) if column is not None]
    if set(shapes) != {(number,)} or (labels is not None and labels.shape != (number, len(classes))):
        raise InputError(f"{path}: its columns are not of {number} clients and {len(classes)} classes")
    return ClientTable(classes, clients, examples, shard_bytes, feature_bytes, labels)


def _column(values: Any) -> Numbers:
    found = np.asarray(values)
    if found.dtype != np.int64 or (found < 0).any():
        raise ValueError(f"{str(values)[:40]} are not whole numbers from 0")
    return found
