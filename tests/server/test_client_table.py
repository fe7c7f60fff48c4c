"""The table of clients survives its file, and says only what is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fl_sparse.array_ops import ArrayOps
from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.features.statistics import FeatureStatistics
from fl_sparse.federation import local_statistics
from fl_sparse.wire import ClientDescription
from server.client_table import ClientTable, client_table, read_clients, write_clients
from server.cohort import Cohort
from tests.server.made_up_table import held_out, training

MOMENTS = FeatureStatistics(6, np.zeros(4), np.zeros(4))
CLIENTS = {node: ClientDescription(k, 3, 4, ("a", "b"), 1.0, MOMENTS, "", 100 + k) for node, k in enumerate((5, 0))}


def described() -> ClientTable:
    return client_table(CLIENTS, None)


def test_clients_are_in_order_and_features_weigh_two_bytes_each() -> None:
    table = described()
    assert (table.clients.tolist(), table.examples.tolist()) == ([0, 5], [3, 3])
    assert table.shard_bytes is not None
    assert (table.shard_bytes.tolist(), table.bytes_of_shards) == ([100, 105], 205)
    assert table.feature_bytes.tolist() == [6 * 4 * 2 + 3 * 8] * 2
    assert table.labels is None
    some = client_table(CLIENTS | {1: replace(CLIENTS[1], shard_bytes=None)}, None)
    assert some.bytes_of_shards is None


@pytest.mark.parametrize("partition", ["dirichlet", "full"])
def test_a_population_gives_the_table_of_its_descriptions(partition: str) -> None:
    config = RunConfig(encoder="made-up", partition=partition)
    made = training(config, 4, views=2)
    everyone = Cohort(config, made, ArrayOps()).population(range(10, 14))
    everyone = replace(everyone, shard_bytes=np.array([5, 6, 7, 2**40]))
    one_by_one = {
        node: replace(client, statistics=local_statistics(made.table, made.parts[client.partition_id]))
        for node, client in everyone.items()
    }
    for tables in (None, held_out(made)):
        at_once, asked = client_table(everyone, tables), client_table(one_by_one, tables)
        for name in ("clients", "examples", "shard_bytes", "feature_bytes", "labels"):
            np.testing.assert_array_equal(getattr(at_once, name), getattr(asked, name))
        assert (at_once.labels is None) == (tables is None)


@pytest.mark.parametrize("changes", [{}, {"labels": np.array([[1, 2], [3, 0]])}, {"shard_bytes": None}])
def test_it_survives_its_file(changes: dict, tmp_path: Path) -> None:
    table = replace(described(), **changes)
    write_clients(tmp_path / "clients.json", table)
    again = read_clients(tmp_path / "clients.json")
    assert again.classes == table.classes
    for name in ("clients", "examples", "shard_bytes", "feature_bytes", "labels"):
        kept, found = getattr(table, name), getattr(again, name)
        assert (found is None) == (kept is None)
        np.testing.assert_array_equal(found, kept)


def test_label_counts_of_too_many_clients_are_left_out(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("server.client_table.MOST_CELLS", 3)
    table = replace(described(), labels=np.ones((2, 2), np.int64))
    write_clients(tmp_path / "clients.json", table)
    assert read_clients(tmp_path / "clients.json").labels is None


@pytest.mark.parametrize("text", ["{", "[]", '{"clients": [0]}', '{"classes": [], "clients": [-1]}'])
def test_a_damaged_file_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "clients.json").write_text(text)
    with pytest.raises(InputError, match=r"clients\.json: no table of clients"):
        read_clients(tmp_path / "clients.json")


def test_columns_of_other_lengths_are_named(tmp_path: Path) -> None:
    path = tmp_path / "clients.json"
    write_clients(path, replace(described(), labels=np.ones((3, 2), np.int64)))
    with pytest.raises(InputError, match="columns are not of 2 clients and 2 classes"):
        read_clients(path)
