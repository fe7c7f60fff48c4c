"""How far rounding carries the demo's job apart: in stacks with PyTorch, and message by message as devices train.

The second path gives the bits of Ray and of a deployment; `tests/integration/test_backends_agree.py` starts these. An
error is ‖difference of the weights‖ / ‖distance they moved‖ after three rounds.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable, Mod

from client.app import client_app, train
from experiments.run import resolve
from fl_sparse.array_ops import ArrayOps, TorchOps
from fl_sparse.learn.mlp_stack.layers import ACTIVATIONS
from server.launch import Launch
from server.progress import PlainWatcher
from server.simulation import simulate
from tests.integration.flower_processes import movement_error

KEYS = {"sgd": ["optimizer=sgd", "learning-rate=0.01"], "adam": []}
SMOOTH = 1e-5
BOUNDS = {("gelu", "sgd"): SMOOTH, ("gelu", "adam"): 2e-2, ("relu", "sgd"): 5e-2, ("relu", "adam"): 0.5}
"""Measured over 20 seeds: at most 7.8e-7, 1.9e-3, 1.4e-2 and 0.12."""


def run(keys: list[str], out: Path, ops: ArrayOps, mods: list[Mod] | None = None) -> Path:
    """Run three rounds of the demo; with mods, each message goes through the ClientApp, which trains with NumPy."""
    config = resolve("demo", ["num-server-rounds=3", "evaluate=none", *keys], "")[1]
    simulate(config, Launch(str(out)), out, client_app(mods), train, ops, PlainWatcher(io.StringIO()))
    return out


def unchanged(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    return call_next(message, context)


@pytest.mark.parametrize(("activation", "optimizer"), BOUNDS)
def test_stacks_and_single_messages_agree(activation: str, optimizer: str, tmp_path: Path) -> None:
    keys = [*KEYS[optimizer], f"activation={activation}"]
    stacks = run(keys, tmp_path / "stacks", TorchOps())
    messages = run(keys, tmp_path / "messages", ArrayOps(), [unchanged])
    error = movement_error(messages, stacks)
    print(f"relative L2 error of the movement, {activation}, {optimizer}: {error:.2e}")
    assert error <= BOUNDS[activation, optimizer]


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_changed_signs_are_magnified_by_relu_alone(activation: str, tmp_path: Path, monkeypatch) -> None:
    """Whether rounding changes a sign depends on seed and processor, so here ten signs are changed on purpose."""
    keys = [*KEYS["sgd"], f"activation={activation}"]
    plain = run(keys, tmp_path / "plain", ArrayOps())
    real, changed = ACTIVATIONS[activation], []

    def sign_changed(ops: ArrayOps, z: Any, slope: Any, scratch: Any) -> None:
        if len(changed) < 10:
            nearest_to_zero = np.unravel_index(np.abs(z).argmin(), z.shape)
            changed.append(abs(float(z[nearest_to_zero])))
            z[nearest_to_zero] *= -1
        real(ops, z, slope, scratch)

    monkeypatch.setitem(ACTIVATIONS, activation, sign_changed)
    error = movement_error(run(keys, tmp_path / "changed", ArrayOps()), plain)
    print(f"relative L2 error of the movement, {activation}, ten signs changed: {error:.2e}")
    assert 0 < max(changed) < 1e-3
    # Measured on 12 seeds: at most 5.6e-7 with GELU, 1.1e-2 to 2.6e-2 with ReLU, which misses the smooth job's bound.
    if activation == "gelu":
        assert error <= SMOOTH
    else:
        assert 10 * SMOOTH <= error <= 0.1
