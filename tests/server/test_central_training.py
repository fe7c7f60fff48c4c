"""One subnet on one client is central training, step for step: one run, or with an optimiser anew every τ steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from experiments.__main__ import main
from fl_sparse.config import from_mapping
from fl_sparse.config.text import parse_override
from fl_sparse.federation import training_table
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.rng import Purpose

TAU, ROUNDS, BATCH = 7, 12, 100


@pytest.mark.parametrize(
    ("optimizer", "momentum", "state"),
    [("adam", 0.0, "fresh"), ("sgd", 0.0, "fresh"), ("adam", 0.0, "kept"), ("sgd", 0.9, "kept"), ("sgd", 0.9, "fresh")],
)
def test_one_subnet_on_one_client_is_central_training(
    optimizer: str, momentum: float, state: str, tiny_encoder: str, tmp_path: Path
) -> None:
    keys = [
        f"encoder={tiny_encoder}",
        "hidden-widths=24,20",
        "num-clients=1",
        "num-subnets=1",
        "partition=full",
        f"num-server-rounds={ROUNDS}",
        f"local-steps={TAU}",
        f"batch-size={BATCH}",
        f"optimizer={optimizer}",
        f"learning-rate={0.001 if optimizer == 'adam' else 0.05}",
        f"momentum={momentum}",
        f"optimizer-state={state}",
    ]
    overrides = [part for text in keys for part in ("-c", text)]
    assert main(["run", *overrides, "--out", str(tmp_path), "--name", "federated"]) == 0
    federated = load_file(tmp_path / "federated" / "model.safetensors")

    config = from_mapping(dict(parse_override(text) for text in keys), source="test")
    training = training_table(config, 1)
    rows = training.parts[0]
    features = training.table.features[0, rows].astype(np.float64)
    labels = training.table.labels[rows]
    features = (features - features.mean(axis=0)) / np.sqrt(np.maximum(features.var(axis=0), 1e-6))
    start = init_parameters(MLPSpec(features.shape[1], (24, 20), 10), config.seed)
    weights = {name: torch.tensor(values, dtype=torch.float64, requires_grad=True) for name, values in start.items()}

    batches = -(-len(rows) // BATCH)
    for step in range(ROUNDS * TAU):
        if step == 0 or (state == "fresh" and step % TAU == 0):
            rate = config.learning_rate
            descent = (
                torch.optim.Adam(weights.values(), lr=rate)
                if optimizer == "adam"
                else torch.optim.SGD(weights.values(), lr=rate, momentum=momentum)
            )
        epoch, batch = divmod(step, batches)
        order = np.random.default_rng([int(Purpose.BATCH), config.seed, 0, epoch]).permutation(len(rows))
        chosen = order[batch * BATCH : (batch + 1) * BATCH]
        hidden = torch.tensor(features[chosen])
        for layer in range(2):
            hidden = torch.relu(hidden @ weights[f"hidden.{layer}.weight"].T + weights[f"hidden.{layer}.bias"])
        logits = hidden @ weights["output.weight"].T + weights["output.bias"]
        descent.zero_grad()
        torch.nn.functional.cross_entropy(logits, torch.tensor(labels[chosen])).backward()
        descent.step()

    for name, values in weights.items():
        moved = np.abs(values.detach().numpy() - start[name]).max()
        np.testing.assert_allclose(federated[name], values.detach().numpy(), rtol=0, atol=2e-3 * moved, err_msg=name)
