"""The same configuration gives the same model in this process, on Ray and in a deployment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.__main__ import main
from fl_sparse.config.text import parse_override, toml_text
from server.network import own_superlink
from tests.integration.flower_processes import flwr_run, movement_error, supernode

TOLERANCE = {"sgd": 1e-5, "adam": 1e-4}
"""Relative L2 error of θ − θ₀ after 3 rounds of this small job; measured on 20 seeds: at most 1.8e-6 for SGD and 9.8e-7
for Adam. Larger jobs end further apart: `tests/server/test_rounding.py`."""


@pytest.fixture(autouse=True)
def one_thread(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def job(encoder: str, optimizer: str, clients: int) -> list[str]:
    return [
        f"encoder={encoder}",
        "hidden-widths=24,20",
        "num-server-rounds=3",
        "local-steps=5",
        "batch-size=16",
        "num-subnets=3",
        f"num-clients={clients}",
        f"optimizer={optimizer}",
        f"learning-rate={0.05 if optimizer == 'sgd' else 0.001}",
    ]


def in_process(keys: list[str], out: Path) -> Path:
    overrides = [part for text in keys for part in ("-c", text)]
    assert main(["run", *overrides, "--out", str(out), "--name", "in-process"]) == 0
    return out / "in-process"


@pytest.mark.parametrize("optimizer", ["sgd", pytest.param("adam", marks=pytest.mark.long)])
def test_ray_agrees_with_in_process(optimizer: str, tiny_encoder: str, tmp_path: Path) -> None:
    keys = [*job(tiny_encoder, optimizer, clients=3), "device-profiles=server,jetson-nano,phone"]
    # A phone takes about 4.5 ms for its part of this model, the others less than 1.5.
    keys += ["round-deadline=0.003"] if optimizer == "adam" else []
    reference = in_process(keys, tmp_path)
    overrides = [part for text in keys for part in ("-c", text)]
    assert main(["run", *overrides, "--backend", "ray", "--out", str(tmp_path), "--name", "ray"]) == 0
    error = movement_error(tmp_path / "ray", reference)
    print(f"relative L2 error of the movement, {optimizer}: {error:.2e}")
    assert error <= TOLERANCE[optimizer]
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("ray", "in-process")]
    for counted in ("bytes_down", "simulated_seconds", "late", "lost"):
        assert summaries[0][counted] == summaries[1][counted]
    assert summaries[0]["late"] == (3 if optimizer == "adam" else 0)


@pytest.mark.parametrize("optimizer", ["sgd", pytest.param("adam", marks=pytest.mark.long)])
def test_a_deployment_of_two_nodes_agrees_with_in_process(optimizer: str, tiny_encoder: str, tmp_path: Path) -> None:
    keys = job(tiny_encoder, optimizer, clients=2)
    reference = in_process(keys, tmp_path)
    settings = tmp_path / "run-config.toml"
    values = dict(parse_override(text) for text in keys)
    settings.write_text(toml_text({**values, "out": str(tmp_path), "name": "deployed"}))
    with (
        own_superlink(tmp_path / "home", simulation=False) as superlink,
        supernode(superlink, "partition-id=0 num-partitions=2", tmp_path / "node-0.log"),
        supernode(superlink, "partition-id=1 num-partitions=2", tmp_path / "node-1.log"),
    ):
        said = flwr_run(superlink, settings)
    assert (tmp_path / "deployed" / "summary.json").exists(), said[-3000:]
    error = movement_error(tmp_path / "deployed", reference)
    print(f"relative L2 error of the movement, {optimizer}: {error:.2e}")
    assert error <= TOLERANCE[optimizer]


def test_mistakes_end_a_flower_run_before_round_1(tiny_encoder: str, tmp_path: Path) -> None:
    settings = tmp_path / "run-config.toml"
    values = dict(parse_override(text) for text in job(tiny_encoder, "sgd", clients=3))
    settings.write_text(toml_text({**values, "out": str(tmp_path), "name": "wrong"}))
    with own_superlink(tmp_path / "home", simulation=True) as superlink:
        said = flwr_run(superlink, settings, "--federation-config", "num-supernodes=2 client-resources-num-cpus=1")
    assert "num-clients = 3, but there are 2 nodes" in said.replace("\n", " ")
    assert "--federation-config 'num-supernodes=3'" in said.replace("\n", " ")
    assert not (tmp_path / "wrong").exists()
