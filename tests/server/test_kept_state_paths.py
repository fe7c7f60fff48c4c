"""Kept optimiser state through the ClientApp, message by message, and through the stacked cohort."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flwr.clientapp import ClientApp

from client.app import app, client_app, train
from experiments.compare.execute import _Silent
from fl_sparse.array_ops import ArrayOps, TorchOps
from fl_sparse.config import RunConfig
from server.checkpoint import Checkpoint, latest_checkpoint
from server.launch import Launch
from server.run_folder import RunFolder
from server.simulation import simulate
from strategies.state.optimizer_state import ClientOptimizerState, kept_moments


def passing(message, context, call_next):
    """Change nothing, and by being there make every message go through the ClientApp."""
    return call_next(message, context)


def last(config: RunConfig, path: Path, made: ClientApp, ops: ArrayOps) -> Checkpoint:
    simulate(config, Launch(out=str(path.parent), name=path.name), path, made, train, ops, _Silent())
    found = latest_checkpoint(RunFolder(path).checkpoints)
    assert found is not None
    return found


@pytest.mark.parametrize("optimizer", [{"optimizer": "adam"}, {"optimizer": "sgd", "momentum": 0.9}])
def test_client_app_and_cohort_agree(optimizer: dict[str, object], tiny_encoder: str, tmp_path: Path) -> None:
    config = RunConfig(
        encoder=tiny_encoder,
        hidden_widths="24,20",
        num_clients=3,
        num_subnets=3,
        num_server_rounds=3,
        local_steps=4,
        batch_size=16,
        optimizer_state="kept",
        learning_rate=0.001 if optimizer["optimizer"] == "adam" else 0.05,
        **optimizer,  # type: ignore[arg-type]
    )
    alone = last(config, tmp_path / "alone", client_app([passing]), TorchOps())
    together = last(config, tmp_path / "together", app, TorchOps())
    one, other = (ClientOptimizerState.load(found.states["optimizer"]) for found in (alone, together))
    assert one.steps == other.steps == 12
    assert one.moments.keys() == other.moments.keys() == set(kept_moments(config))
    pairs = [(alone.parameters, together.parameters)]
    pairs += [(held, other.moments[moment]) for moment, held in one.moments.items()]
    for held, others in pairs:
        for name, values in held.items():
            np.testing.assert_allclose(
                values, others[name], rtol=0, atol=1e-4 * np.nanmax(np.abs(values)), err_msg=name
            )
