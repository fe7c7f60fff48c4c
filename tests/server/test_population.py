"""Round 0 answered for everyone at once: the same numbers, bit for bit, as one message each."""

import sys
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable
from hypothesis import given, settings
from hypothesis import strategies as st

from client.app import app, client_app, train
from fl_sparse.array_ops import ArrayOps
from fl_sparse.config import RunConfig, to_mapping
from fl_sparse.data.client_rows import ClientRows
from fl_sparse.errors import InputError
from fl_sparse.features.statistics import FeatureStatistics, merge
from fl_sparse.federation import TrainingTable, federation_statistics, local_statistics, remember_training_table
from fl_sparse.wire import ClientDescription, content_of_description, wire_bytes
from server.cohort import Cohort
from server.in_process_grid import FIRST_NODE_ID, InProcessGrid
from server.launch import Launch
from server.population import Population
from server.progress import PlainWatcher
from server.question import ask_nodes, federation_standardizer
from server.simulation import ClientSide, simulate_table
from tests.server.made_up_table import CLASSES, held_out, table, training


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    views=st.integers(1, 3),
    width=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_merged_moments_are_those_of_one_client_after_another(sizes, views, width, seed) -> None:
    made = table(50, seed, width=max(3, width), views=views)
    rng = np.random.default_rng(seed)
    parts = ClientRows.of(rng.integers(50, size=size) for size in sizes)
    expected = merge([local_statistics(made, rows) for rows in parts])
    found = federation_statistics(made, parts)
    assert found.n == expected.n
    assert found.mean.tobytes() == expected.mean.tobytes()
    assert found.m2.tobytes() == expected.m2.tobytes()


def test_moments_of_large_clients_are_taken_in_the_same_blocks() -> None:
    made = table(5000)
    parts = ClientRows.of([np.arange(5000), np.arange(4500), np.arange(20)])
    expected = merge([local_statistics(made, rows) for rows in parts])
    assert federation_statistics(made, parts).m2.tobytes() == expected.m2.tobytes()


def population(sizes: list[int], views: int = 1, shard_bytes: np.ndarray | None = None) -> Population:
    none = FeatureStatistics(1, np.zeros(5), np.zeros(5))
    nodes = range(FIRST_NODE_ID, FIRST_NODE_ID + len(sizes))
    return Population(
        nodes, np.array(sizes), views, 5, CLASSES, RunConfig(capacities="1,0.5").capacity_of, lambda: none, shard_bytes
    )


@given(
    st.lists(st.one_of(st.integers(1, 300), st.integers(8000, 9000), st.integers(2**20, 2**21)), min_size=1),
    st.integers(1, 8),
    st.booleans(),
)
def test_descriptions_weigh_what_each_would_on_the_wire(sizes: list[int], views: int, weighed: bool) -> None:
    shard_bytes = np.array(sizes) * 49_999 if weighed else None
    everyone, rng = population(sizes, views, shard_bytes), np.random.default_rng(0)
    for client, weight in enumerate(everyone.reply_bytes()):
        statistics = FeatureStatistics(sizes[client] * views, rng.normal(size=5), rng.normal(size=5))
        capacity = (1.0, 0.5)[client % 2]
        described = everyone[FIRST_NODE_ID + client]
        own = ClientDescription(
            client,
            sizes[client],
            5,
            CLASSES,
            capacity,
            statistics,
            described.version,
            49_999 * sizes[client] if weighed else None,
        )
        assert weight == wire_bytes(content_of_description(own))


def test_a_population_is_a_mapping_made_on_demand() -> None:
    everyone = population([7] * 100_000)
    assert len(everyone) == 100_000
    assert everyone[FIRST_NODE_ID + 99_999].partition_id == 99_999
    assert FIRST_NODE_ID - 1 not in everyone
    assert FIRST_NODE_ID + 100_000 not in everyone
    with pytest.raises(KeyError):
        everyone[FIRST_NODE_ID + 100_000]
    assert next(iter(everyone.values())).num_examples == 7


def grids(config: RunConfig, made: TrainingTable) -> tuple[InProcessGrid, InProcessGrid]:
    """The grid that answers for all, and one that asks each node."""
    remember_training_table(config, made)
    cohort, count = Cohort(config, made, ArrayOps()), len(made.parts)
    return (
        InProcessGrid(app, to_mapping(config), count, cohort, cohort.population),
        InProcessGrid(app, to_mapping(config), count, None),
    )


@pytest.mark.parametrize(
    "keys",
    [
        {"partition": "bootstrap", "images_per_client": 5},
        {"partition": "dirichlet", "alpha": 0.3, "capacities": "1,0.5"},
        {"evaluate": "clients"},
    ],
)
def test_all_at_once_and_one_by_one_agree(keys: dict) -> None:
    config = RunConfig(encoder="made-up", **keys)
    at_once, one_by_one = (
        ask_nodes(grid, list(grid.get_node_ids()), timeout=1.0) for grid in grids(config, training(config, 6, views=2))
    )
    assert isinstance(at_once.clients, Population)
    assert (at_once.bytes_down, at_once.bytes_up) == (one_by_one.bytes_down, one_by_one.bytes_up)
    assert at_once.exchanged == one_by_one.exchanged
    assert list(at_once.clients) == list(one_by_one.clients)
    for node, described in one_by_one.clients.items():
        other = at_once.clients[node]
        for name in ("partition_id", "num_examples", "num_features", "classes", "capacity", "version"):
            assert getattr(other, name) == getattr(described, name), name
    one, other = (federation_standardizer(answers.clients) for answers in (at_once, one_by_one))
    assert one.mean.tobytes() == other.mean.tobytes()
    assert one.inverse_std.tobytes() == other.inverse_std.tobytes()


def test_a_client_without_images_is_named() -> None:
    config = RunConfig(encoder="made-up")
    made = TrainingTable(table(10), ClientRows.of([np.arange(10), np.arange(0)]))
    grid, _ = grids(config, made)
    with pytest.raises(InputError, match="client 1 holds no training image"):
        ask_nodes(grid, list(grid.get_node_ids()), timeout=1.0)


@pytest.mark.parametrize("wrapped", [False, True])
def test_no_mod_is_skipped_and_results_agree(wrapped: bool, tmp_path: Path, capsys) -> None:
    seen: list[str] = []

    def listening(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        seen.append(message.metadata.message_type)
        return call_next(message, context)

    short = {"num_server_rounds": 2, "local_steps": 10, "learning_rate": 0.02}
    config = RunConfig(encoder="made-up", hidden_widths="12,10", num_subnets=3, num_clients=4, **short)
    made = training(config, 4)
    nodes = client_app(mods=[listening]) if wrapped else app
    launch = Launch(out=str(tmp_path), name="run")
    summary = simulate_table(
        config,
        made,
        lambda count: held_out(made),
        lambda: launch.open(config, tmp_path / "run"),
        ClientSide(nodes, train, ArrayOps()),
        PlainWatcher(sys.stdout),
    )
    assert seen == (["query"] * 4 + ["train"] * 8 if wrapped else [])
    assert summary["asked"] == 4 + 8
    assert summary["accuracy"] > 0.5
    assert "round 2/2" in capsys.readouterr().out
