"""Whole runs under every update format: cohort and ClientApp agree, bytes shrink, the linear term stays."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message, MessageType
from flwr.clientapp.mod import LocalDpMod
from flwr.clientapp.typing import ClientAppCallable
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from safetensors.numpy import load_file

from client.app import client_app, train
from experiments.__main__ import main
from fl_sparse.array_ops import ArrayOps
from fl_sparse.config import RunConfig
from server.launch import Launch
from server.progress import PlainWatcher
from server.simulation import simulate

SMALL = {
    "hidden_widths": "24,20",
    "num_server_rounds": 4,
    "local_steps": 3,
    "batch_size": 16,
    "num_clients": 3,
    "clients_per_round": 2,
    "dropout_probability": 0.2,
}


def run(config: RunConfig, out: Path, mods: list | None = None) -> dict[str, np.ndarray]:
    """Run in this process and return the model; without mods the cohort is trained at once."""
    made = client_app(mods)
    simulate(config, Launch(str(out)), out / "run", made, train, ArrayOps(), PlainWatcher(io.StringIO()))
    return load_file(out / "run" / "model.safetensors")


def another_process(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Have message and state pass through bytes, as they do between a SuperNode and the processes it starts."""
    message.content = recorddict_from_proto(recorddict_to_proto(message.content))
    context.state = recorddict_from_proto(recorddict_to_proto(context.state))
    return call_next(message, context)


@pytest.mark.parametrize(
    ("update_format", "feedback"),
    # float32 loses nothing that could be fed back.
    [("float32", False), ("bfloat16", False), ("bfloat16", True), ("int8", False), ("int8", True)],
)
def test_the_cohort_and_the_client_app_agree(
    update_format: str, feedback: bool, tiny_encoder: str, tmp_path: Path
) -> None:
    config = RunConfig(
        strategy="heterofl",
        # One client of a kind: its stack is of one subnet on both paths, and rounding cannot differ.
        capacities="1,0.6,0.3",
        encoder=tiny_encoder,
        update_format=update_format,
        error_feedback=feedback,
        **SMALL,
    )
    models = []
    for name, mods in (("cohort", None), ("messages", [another_process])):
        (tmp_path / name).mkdir()
        models.append(run(config, tmp_path / name, mods))
    for key, values in models[0].items():
        np.testing.assert_array_equal(models[1][key], values)
    if feedback:
        (tmp_path / "plain").mkdir()
        plain = run(RunConfig(**{**vars(config), "error_feedback": False}), tmp_path / "plain")
        assert any((plain[key] != values).any() for key, values in models[0].items())


@pytest.mark.parametrize("update_format", ["float32", "bfloat16", "int8"])
def test_a_mod_that_takes_updates_for_weights_is_not_believed(
    update_format: str, tiny_encoder: str, tmp_path: Path
) -> None:
    config = RunConfig(strategy="fedavg", encoder=tiny_encoder, update_format=update_format, **SMALL)
    noise = LocalDpMod(clipping_norm=1.0, sensitivity=0.01, epsilon=1.0, delta=0.01)

    def noise_in_training(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        training = message.metadata.message_type == MessageType.TRAIN
        return noise(message, context, call_next) if training else call_next(message, context)

    run(config, tmp_path, [noise_in_training])
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()][1:]
    trained = [record["train_loss"] is not None for record in records]
    assert any(trained) if update_format == "float32" else not any(trained)
    if update_format == "bfloat16":
        assert any("is float32; expected uint16" in reason for record in records for reason in record["reasons"])


def test_int8_brings_a_quarter_of_the_bytes_up_and_as_many_down(tiny_encoder: str, tmp_path: Path) -> None:
    counted = {}
    for update_format in ("float32", "bfloat16", "int8"):
        keys = {"encoder": tiny_encoder, "strategy": "fedavg", "hidden-widths": "300,300", "num-server-rounds": 1}
        keys |= {"local-steps": 1, "update-format": update_format, "init": "ridge"}
        overrides = [part for key, value in keys.items() for part in ("-c", f"{key}={value}")]
        assert main(["run", *overrides, "--out", str(tmp_path), "--name", update_format]) == 0
        lines = (tmp_path / update_format / "metrics.jsonl").read_text().splitlines()
        counted[update_format] = json.loads(lines[-1])
    up = {key: record["bytes_up"] for key, record in counted.items()}
    assert 0.5 < up["bfloat16"] / up["float32"] < 0.505
    # A scale is 4 bytes a row, and the first layer's rows are of 32 features only.
    assert 0.25 < up["int8"] / up["float32"] < 0.275
    # Down, an order says what it wants in some 50 bytes.
    assert counted["int8"]["bytes_down"] == pytest.approx(counted["float32"]["bytes_down"], rel=1e-3)
    models = [load_file(tmp_path / key / "model.safetensors") for key in up]
    for model in models[1:]:
        np.testing.assert_array_equal(model["skip.weight"], models[0]["skip.weight"])
        for key, values in models[0].items():
            # Adam's first step moves a weight by 0.001 at most; int8 rounds to a 254th of that, bfloat16 to a 256th.
            np.testing.assert_allclose(model[key], values, rtol=0, atol=0.001 / 254 + 1e-7)


@pytest.mark.parametrize("kept", [True, False])
def test_going_on_from_a_checkpoint_repeats_with_residuals_kept_or_from_zero(
    kept: bool, tiny_encoder: str, tmp_path: Path, capsys
) -> None:
    keys = {"encoder": tiny_encoder, "strategy": "fedavg", "hidden-widths": "12,10", "num-server-rounds": 4}
    keys |= {"local-steps": 2, "num-clients": 2, "update-format": "int8", "error-feedback": "true"}
    keys |= {"keep-residuals": str(kept).lower()}
    overrides = [part for key, value in keys.items() for part in ("-c", f"{key}={value}")]
    models = []
    for name in ("one", "other"):
        assert main(["run", *overrides, "--out", str(tmp_path), "--name", name]) == 0
        folder = tmp_path / name
        whole = load_file(folder / "model.safetensors")
        for later in (3, 4):
            (folder / "checkpoints" / f"round-{later:06d}.safetensors").unlink()
        (folder / "summary.json").unlink()
        capsys.readouterr()
        assert main(["run", "--resume", str(folder)]) == 0
        said = capsys.readouterr()
        assert said.err == ""
        assert "residual" not in said.out
        assert (folder / "checkpoints" / "residuals").exists() == kept
        models.append(load_file(folder / "model.safetensors"))
    for key, values in models[0].items():
        np.testing.assert_array_equal(models[1][key], values)
    # Beginning with none is another job than the one that was not cut off.
    assert any((whole[key] != values).any() for key, values in models[0].items()) != kept
