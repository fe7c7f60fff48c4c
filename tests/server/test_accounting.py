"""What a run cost beside sending its data once, counted again from what is on the disk."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from client.app import app
from experiments.__main__ import main
from fl_sparse.array_ops import ArrayOps
from fl_sparse.config import RunConfig, to_mapping
from fl_sparse.federation import training_table
from fl_sparse.shard.image_shard import stored_tensors
from server.accounting import crossover_round
from server.client_table import client_table, read_clients
from server.cohort import Cohort
from server.in_process_grid import InProcessGrid
from server.question import ask_nodes
from server.records import RoundRecord
from server.run_folder import RunFolder, read_config, read_records

SMALL = ["hidden-widths=24,20", "num-server-rounds=3", "local-steps=2", "batch-size=16", "num-clients=3"]


def run(encoder: str, out: Path, name: str, *more: str) -> dict:
    keys = [part for text in [f"encoder={encoder}", *SMALL, *more] for part in ("-c", text)]
    assert main(["run", *keys, "--out", str(out), "--name", name]) == 0
    return json.loads((out / name / "summary.json").read_text())


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 40))
def test_the_crossover_is_the_first_round_that_has_sent_more(sent: list[int], once: int) -> None:
    records = [RoundRecord(round=number, bytes_down=size, bytes_up=2 * size) for number, size in enumerate(sent)]
    over = [number for number in range(len(sent)) if 3 * sum(sent[: number + 1]) > once]
    assert crossover_round(records, once) == (over[0] if over else None)
    assert crossover_round(records, None) is None


@pytest.mark.parametrize("more", [(), ("mask-schedule=resampled", "mask-views=2", "partition=full")])
def test_shards_and_features_weigh_what_is_stored(more: tuple[str, ...], tiny_encoder: str, tmp_path: Path) -> None:
    summary = run(tiny_encoder, tmp_path, "run", *more)
    training = training_table(read_config(tmp_path / "run"), 3)
    assert training.table.shard is not None
    tensors = stored_tensors(training.table.shard)
    images = training.table.shard.num_images
    weight = {name: tensors[name].nbytes / images for name in ("patches", "kept", "labels")}
    held = int(training.parts.sizes.sum())
    assert summary["bytes_of_shards"] == sum(weight.values()) * held
    views, _, width = training.table.features.shape
    assert summary["bytes_of_features"] == held * (views * width * 2 + 8)
    spent = np.cumsum([r.bytes_down + r.bytes_up for r in read_records(RunFolder(tmp_path / "run"))])
    for kind in ("shards", "features"):
        number = summary[f"crossover_round_{kind}"]
        assert number is None or spent[number] > summary[f"bytes_of_{kind}"] >= ([0, *spent])[number]
        assert number is not None or spent[-1] <= summary[f"bytes_of_{kind}"]


def test_weights_are_shares_of_the_model_and_clients_are_listed(tiny_encoder: str, tmp_path: Path) -> None:
    summary = run(tiny_encoder, tmp_path, "run", "strategy=ist", "num-subnets=2")
    model = load_file(tmp_path / "run" / "model.safetensors")
    size = sum(values.size for name, values in model.items() if not name.startswith("standardizer."))
    assert summary["weights_global"] == size
    assert summary["weights_held_share"] == pytest.approx(summary["weights_held"] / size)
    assert summary["weights_held"] == 12 * 32 + 12 + 10 * 12 + 10 + 10 * 10 + 10
    clients = read_clients(RunFolder(tmp_path / "run").clients_file)
    training = training_table(read_config(tmp_path / "run"), 3)
    own = [np.bincount(training.table.labels[rows], minlength=10) for rows in training.parts]
    np.testing.assert_array_equal(clients.labels, own)
    np.testing.assert_array_equal(clients.examples, training.parts.sizes)
    assert clients.bytes_of_shards == summary["bytes_of_shards"]


@pytest.mark.parametrize("evaluate", ["server", "clients"])
def test_a_resumed_run_gives_the_same_summary(evaluate: str, tiny_encoder: str, tmp_path: Path) -> None:
    whole = run(tiny_encoder, tmp_path, "run", f"evaluate={evaluate}", "partition=dirichlet", "learning-rate=0.01")
    folder = RunFolder(tmp_path / "run")
    folder.summary_file.unlink()
    for later in sorted(folder.checkpoints.iterdir())[-1:]:
        later.unlink()
    assert main(["run", "--resume", str(folder.path)]) == 0
    again = json.loads(folder.summary_file.read_text())
    # Resumed clients are sent the standardizer once more.
    differs = ("seconds", "bytes_down")
    same = [{key: value for key, value in found.items() if key not in differs} for found in (whole, again)]
    assert same[0] == same[1]
    listed = whole["client_accuracy"]
    assert listed["round"] == whole["chosen_round"]
    assert (listed["clients"], len(listed["accuracy"])) == ([0, 1, 2], 3)
    assert whole["client_accuracy_min"] == min(listed["accuracy"])
    assert whole["client_accuracy_median"] == sorted(listed["accuracy"])[1]
    tenth = 0.8 * min(listed["accuracy"]) + 0.2 * whole["client_accuracy_median"]
    assert whole["client_accuracy_p10"] == pytest.approx(tenth)


@pytest.mark.parametrize("evaluate", ["server", "clients"])
def test_nodes_asked_one_by_one_say_what_the_population_does(evaluate: str, tiny_encoder: str) -> None:
    config = RunConfig(encoder=tiny_encoder, num_clients=3, evaluate=evaluate, mask_schedule="resampled", mask_views=2)
    made = training_table(config, 3)
    everyone = Cohort(config, made, ArrayOps()).population
    at_once, one_by_one = (
        client_table(ask_nodes(grid, list(grid.get_node_ids()), timeout=1.0).clients, None)
        for grid in (
            InProcessGrid(app, to_mapping(config), 3, None, everyone),
            InProcessGrid(app, to_mapping(config), 3, None),
        )
    )
    assert one_by_one.bytes_of_shards == at_once.bytes_of_shards is not None
    np.testing.assert_array_equal(one_by_one.shard_bytes, at_once.shard_bytes)
    np.testing.assert_array_equal(one_by_one.feature_bytes, at_once.feature_bytes)


def test_rounds_cost_no_less_when_clients_evaluate(tiny_encoder: str, tmp_path: Path) -> None:
    """Where clients evaluate, they keep images back: shards and features weigh less, and messages more."""
    server, clients = (run(tiny_encoder, tmp_path, kind, f"evaluate={kind}") for kind in ("server", "clients"))
    assert clients["bytes_of_shards"] < server["bytes_of_shards"]
    assert clients["bytes_down"] > server["bytes_down"]
    spent = [r.bytes_down + r.bytes_up for r in read_records(RunFolder(tmp_path / "clients"))]
    assert all(size > 0 for pair in pairwise(spent) for size in pair)
