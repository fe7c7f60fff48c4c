"""Files of version 0.1.0 are gone on from: a run started then ends with the bits of one that was not cut off."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from fl_sparse.config import RunConfig
from server import rounds
from server.checkpoint import Checkpoint, load_checkpoint, stored_checkpoints
from server.client_accuracy import BY_LABELS
from server.run_folder import RunFolder
from strategies.state.optimizer_state import ClientOptimizerState
from strategies.state.server_optimizer import ServerOptimizer
from tests.server.killed_runs import assert_same, checkpoints, play, residual_files

NEW_KEYS = ("broadcast-format", "broadcast-error-feedback", "keep-residuals")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch) -> None:
    monkeypatch.setattr(rounds, "draw_accuracy", lambda *args, **keys: None)
    monkeypatch.setattr(rounds, "draw_partition", lambda *args, **keys: None)


def save_as_before(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint as version 0.1.0 did: the steps in the metadata, and no other state than moments."""
    tensors = {f"weights.{name}": values for name, values in checkpoint.parameters.items()}
    metadata = {"round": str(checkpoint.round), "classes": "\n".join(checkpoint.classes)}
    if checkpoint.standardizer is not None:
        tensors["standardizer.mean"] = checkpoint.standardizer.mean
        tensors["standardizer.inverse_std"] = checkpoint.standardizer.inverse_std
    for name, values in checkpoint.states.get("server", {}).items():
        tensors[f"server.{name}"] = values
    for name, values in checkpoint.states.get("optimizer", {}).items():
        if name == "steps":
            metadata["optimizer-steps"] = str(int(values))
        else:
            tensors[f"optimizer.{name}"] = values
    if (found := checkpoint.by_client) is not None:
        tensors |= {"clients.ids": found.clients, "clients.accuracy": found.accuracy}
        metadata |= {"clients-round": str(found.round), "clients-of": found.of}
    save_file({name: np.ascontiguousarray(values) for name, values in tensors.items()}, path, metadata=metadata)


def make_old(path: Path) -> None:
    """Turn a run's folder into one of version 0.1.0."""
    folder = RunFolder(path)
    for stored in stored_checkpoints(folder.checkpoints):
        save_as_before(stored, load_checkpoint(stored))
    lines = folder.config_file.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not re.match(rf"({'|'.join(NEW_KEYS)}) = ", line)]
    assert len(lines) - len(kept) == len(NEW_KEYS)
    folder.config_file.write_text("".join(kept))


def configuration(**keys: Any) -> RunConfig:
    chosen = {"strategy": "fedavg", "hidden_widths": "8,6", "num_clients": 4, "num_server_rounds": 5}
    return RunConfig(**(chosen | {"local_steps": 3, "batch_size": 4, "learning_rate": 0.01} | keys))


def test_the_names_of_an_old_file_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = {"hidden.0.weight": (3, 2), "hidden.0.bias": (3,), "output.weight": (2, 3), "output.bias": (2,)}
    kinds = ("weights", "server.first", "server.second", "optimizer.first", "optimizer.second")
    tensors = {
        f"{kind}.{name}": rng.normal(size=shape).astype(np.float32) for kind in kinds for name, shape in shapes.items()
    }
    tensors["optimizer.first.hidden.0.weight"][0] = np.nan  # nobody has met it
    standardizer = {name: rng.normal(size=2).astype(np.float32) for name in ("mean", "inverse_std")}
    by_client = {"clients.ids": np.array([0, 4]), "clients.accuracy": np.array([0.5, np.nan])}
    path = tmp_path / "round-000003.safetensors"
    save_file(
        tensors | {f"standardizer.{name}": values for name, values in standardizer.items()} | by_client,
        path,
        metadata={
            "round": "3",
            "classes": "a\nb",
            "clients-round": "2",
            "clients-of": BY_LABELS,
            "optimizer-steps": "15",
        },
    )
    found = load_checkpoint(path)
    assert (found.round, found.classes) == (3, ("a", "b"))
    assert found.states.keys() == {"server", "optimizer"}
    adam = ServerOptimizer.from_config(configuration(server_optimizer="adam"))
    state = ClientOptimizerState.load(found.states["optimizer"])
    assert state.steps == 15
    read = {"weights": found.parameters}
    for kind, moments in (("server", adam.load(found.states["server"])), ("optimizer", state.moments)):
        read |= {f"{kind}.{moment}": values for moment, values in moments.items()}
    assert read.keys() == set(kinds)
    for kind, values in read.items():
        assert values.keys() == shapes.keys()
        for name in shapes:
            assert values[name].tobytes() == tensors[f"{kind}.{name}"].tobytes()
    assert found.standardizer is not None
    for name, values in standardizer.items():
        np.testing.assert_array_equal(getattr(found.standardizer, name), values)
    assert found.by_client is not None
    assert (found.by_client.round, found.by_client.of) == (2, BY_LABELS)
    np.testing.assert_array_equal(found.by_client.clients, [0, 4])
    np.testing.assert_array_equal(found.by_client.accuracy, [0.5, np.nan])


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"optimizer_state": "kept"},
        {"optimizer_state": "kept", "optimizer": "sgd", "momentum": 0.9, "server_optimizer": "momentum"},
        {"optimizer_state": "kept", "server_optimizer": "adam", "strategy": "ist", "num_subnets": 2},
        {"server_optimizer": "yogi", "update_format": "int8"},
        {"strategy": "alone"},
    ],
    ids=str,
)
def test_an_old_run_ends_with_the_bits_of_one_that_was_not_cut_off(keys: dict[str, Any], tmp_path: Path) -> None:
    config = configuration(**keys)
    play(config, tmp_path / "whole")
    play(config, tmp_path / "old", 1)
    make_old(tmp_path / "old")
    play(config, tmp_path / "old")
    assert_same(tmp_path / "whole", tmp_path / "old")


def test_an_old_run_that_kept_moments_and_has_trained_nobody_yet(tmp_path: Path) -> None:
    """Version 0.1.0 wrote no steps then."""
    config = configuration(optimizer_state="kept", num_clients=2, dropout_probability=0.5, seed=0)
    seeds = (configuration(**{**vars(config), "seed": seed}) for seed in range(20))
    for config in seeds:
        path = tmp_path / str(config.seed)
        play(config, path, 1)
        (state,) = (found.states.get("optimizer", {}) for found in checkpoints(path)[-1:])
        if state and not int(state["steps"]):
            break
    stored = stored_checkpoints(RunFolder(path).checkpoints)[-1]
    held = load_checkpoint(stored)
    moments = {name: values for name, values in held.states["optimizer"].items() if name != "steps"}
    assert moments
    assert all(np.isnan(values).all() for values in moments.values())
    save_as_before(stored, Checkpoint(1, held.parameters, held.standardizer, held.classes, {"optimizer": moments}))
    play(config, tmp_path / "whole")
    play(config, path)
    assert_same(tmp_path / "whole", path)


def test_an_old_run_of_error_feedback_begins_with_no_residual(tmp_path: Path) -> None:
    config = configuration(update_format="int8", error_feedback=True)
    for name in ("one", "other"):
        play(config, tmp_path / name, 3)
        make_old(tmp_path / name)
        for file in residual_files(tmp_path / name):
            (tmp_path / name / "checkpoints" / "residuals" / file).unlink()
        play(config, tmp_path / name)
    assert_same(tmp_path / "one", tmp_path / "other")
    play(configuration(**{**vars(config), "keep_residuals": False}), tmp_path / "zero", 3)
    play(configuration(**{**vars(config), "keep_residuals": False}), tmp_path / "zero")
    # As keep-residuals = false has it, but that what follows is kept.
    for one, other in zip(checkpoints(tmp_path / "one"), checkpoints(tmp_path / "zero"), strict=True):
        for name, values in one.parameters.items():
            assert values.tobytes() == other.parameters[name].tobytes()
    assert residual_files(tmp_path / "one")
