"""Whole runs on clients of few classes: cohort and ClientApp agree, whatever else is asked of the updates."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from safetensors.numpy import load_file

from client.app import client_app, train
from fl_sparse.array_ops import ArrayOps, TorchOps
from fl_sparse.config import RunConfig
from server.launch import Launch
from server.progress import PlainWatcher
from server.simulation import simulate

SMALL = {
    "hidden_widths": "24,20",
    "num_server_rounds": 3,
    "local_steps": 4,
    "batch_size": 16,
    "num_clients": 4,
    "clients_per_round": 3,
    "partition": "pathological",
    "classes_per_client": 3,
}
HETEROFL = {"strategy": "heterofl", "capacities": "1,0.8,0.6,0.4"}
"""One client of a kind: its stack is of one subnet on both paths, and rounding cannot differ."""


def run(config: RunConfig, out: Path, mods: list | None = None, ops: ArrayOps | None = None) -> dict:
    """Run in this process and return the model; without mods the cohort is trained at once."""
    made = client_app(mods)
    simulate(config, Launch(str(out)), out, made, train, ops or ArrayOps(), PlainWatcher(io.StringIO()))
    return load_file(out / "model.safetensors")


def records(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()][1:]


def another_process(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Have message and state pass through bytes, as they do between a SuperNode and the processes it starts."""
    message.content = recorddict_from_proto(recorddict_to_proto(message.content))
    context.state = recorddict_from_proto(recorddict_to_proto(context.state))
    return call_next(message, context)


@pytest.mark.parametrize(
    "more",
    [
        {"absent_classes": "masked"},
        {"absent_classes": "zeroed", "update_format": "int8", "error_feedback": True},
        {"absent_classes": "masked", "optimizer_state": "kept"},
        {"absent_classes": "masked", "init": "ridge", "update_format": "bfloat16", "proximal": 0.1},
    ],
    ids=str,
)
def test_the_cohort_and_the_client_app_agree(more: dict, tiny_encoder: str, tmp_path: Path) -> None:
    config = RunConfig(encoder=tiny_encoder, **HETEROFL, **SMALL, **more)
    cohort = run(config, tmp_path / "cohort")
    messages = run(config, tmp_path / "messages", [another_process])
    for key, values in cohort.items():
        np.testing.assert_array_equal(messages[key], values, err_msg=key)
    assert all(record["train_loss"] is not None and not record["reasons"] for record in records(tmp_path / "cohort"))


def test_both_backends_and_stacks_of_many_agree(tiny_encoder: str, tmp_path: Path) -> None:
    config = RunConfig(encoder=tiny_encoder, strategy="fedavg", absent_classes="masked", **SMALL)
    one, other = run(config, tmp_path / "numpy"), run(config, tmp_path / "torch", ops=TorchOps())
    for key, values in one.items():
        np.testing.assert_allclose(values, other[key], rtol=0, atol=1e-4 * np.abs(values).max(), err_msg=key)


def test_a_class_that_no_client_of_the_run_holds_keeps_its_row(tiny_encoder: str, tmp_path: Path) -> None:
    """One client of three classes takes part in the only round: seven rows of the output stay, and their biases."""
    keys = SMALL | {"num_server_rounds": 1, "clients_per_round": 1}
    models = {}
    for rule in ("trained", "masked", "zeroed"):
        config = RunConfig(encoder=tiny_encoder, strategy="fedavg", absent_classes=rule, **keys)
        models[rule] = run(config, tmp_path / rule)
    start = run(RunConfig(encoder=tiny_encoder, strategy="fedavg", learning_rate=1e-30, **keys), tmp_path / "start")
    for rule, count in (("trained", 0), ("masked", 7), ("zeroed", 7)):
        for key in ("output.weight", "output.bias"):
            still = (models[rule][key] == start[key]).reshape(10, -1).all(axis=1)
            assert still.sum() == count, (rule, key)
    assert (models["masked"]["output.weight"] != models["zeroed"]["output.weight"]).any()
    # What it costs: a few words down, the classes up.
    masked, trained = (records(tmp_path / rule)[-1] for rule in ("masked", "trained"))
    assert 0 < masked["bytes_down"] - trained["bytes_down"] < 60
    assert 0 < masked["bytes_up"] - trained["bytes_up"] < 100
