"""Devices with shards of their own, a server without images, and a device that dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from PIL import Image

from fl_sparse.__main__ import main
from fl_sparse.config.text import toml_text
from fl_sparse.data.sources import load_images
from server.network import SuperLink, own_superlink
from tests.integration.flower_processes import ROOT, flwr_run, supernode

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def one_thread(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def shard(folder: Path, name: str, rows: range, *options: str) -> Path:
    """Write a device's shard by the command that an operator would use."""
    train, _ = load_images("digits", "", data_seed=0)
    for row in rows:
        place = folder / name / str(train.labels[row])
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(train.pixels(row)).save(place / f"{row}.png")
    out = folder / f"{name}.shard"
    classes = "0,1,2,3,4,5,6,7,8,9"
    assert main(["shard", str(folder / name), "--out", str(out), "--classes", classes, *options]) == 0
    return out


def settings(folder: Path, encoder: str, **more) -> Path:
    path = folder / f"{more['name']}.toml"
    keys = {"encoder": encoder, "hidden-widths": "24,20", "num-subnets": 2, "local-steps": 3, "batch-size": 16}
    path.write_text(toml_text({**keys, "out": str(folder), **more}))
    return path


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_devices_hold_the_images_and_evaluate(tiny_encoder: str, tmp_path: Path) -> None:
    size = ["--encoder", tiny_encoder]
    shards = [shard(tmp_path, "a", range(0, 120), *size), shard(tmp_path, "b", range(120, 200), *size)]
    job = settings(tmp_path, tiny_encoder, name="run", evaluate="clients", **{"num-server-rounds": 2})
    with (
        own_superlink(tmp_path / "home", simulation=False) as superlink,
        supernode(superlink, f"partition-id=0 shard='{shards[0]}'", tmp_path / "node-0.log"),
        supernode(superlink, f"partition-id=1 shard='{shards[1]}'", tmp_path / "node-1.log"),
    ):
        said = flwr_run(superlink, job)
    assert (tmp_path / "run" / "summary.json").exists(), said[-3000:]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["accuracy_of"] == "clients' held-out images"
    assert summary["lost"] == summary["refused"] == 0
    assert all(record["clients_accuracy"] is not None for record in records(tmp_path / "run")[1:])
    assert not (tmp_path / "run" / "split.png").exists()


def test_a_shard_of_another_size_ends_the_run_before_round_1(tiny_encoder: str, tmp_path: Path) -> None:
    wrong = shard(tmp_path, "a", range(0, 60), "--image-size", "32", "--patch-size", "4")
    job = settings(tmp_path, tiny_encoder, name="run", evaluate="clients", **{"num-server-rounds": 2})
    with (
        own_superlink(tmp_path / "home", simulation=False) as superlink,
        supernode(superlink, f"partition-id=0 shard='{wrong}'", tmp_path / "node-0.log"),
    ):
        said = flwr_run(superlink, job).replace("\n", " ")
    assert "was made for 32-pixel images and 4-pixel patches" in said
    assert not (tmp_path / "run").exists()


def test_a_killed_device_costs_its_own_steps(tiny_encoder: str, tmp_path: Path) -> None:
    """Flower reports a dead node after most of a minute; its step is lost, the rounds go on."""
    job = settings(tmp_path, tiny_encoder, name="run", **{"num-server-rounds": 8})
    with (
        own_superlink(tmp_path / "home", simulation=False) as superlink,
        supernode(superlink, "partition-id=0 num-partitions=2", tmp_path / "node-0.log"),
        supernode(superlink, "partition-id=1 num-partitions=2", tmp_path / "node-1.log") as second,
    ):
        process = start(superlink, job)
        wait_for_round(tmp_path / "run", 2)
        os.killpg(second.pid, signal.SIGKILL)
        process.wait(300)
    found = records(tmp_path / "run")
    assert [record["round"] for record in found] == list(range(9))
    assert sum(record["lost"] for record in found) >= 1
    assert all(record["answered"] >= 1 for record in found)
    assert (tmp_path / "run" / "summary.json").exists()


def test_a_run_goes_on_after_its_superlink_was_killed(tiny_encoder: str, tmp_path: Path) -> None:
    """Flower ends the run with its SuperLink; resuming is ours, and gives the bits of an uninterrupted run."""
    whole = settings(tmp_path, tiny_encoder, name="whole", **{"num-server-rounds": 4})
    cut = settings(tmp_path, tiny_encoder, name="cut", **{"num-server-rounds": 4})
    nodes = ["partition-id=0 num-partitions=2", "partition-id=1 num-partitions=2"]
    for attempt, job in (("whole", whole), ("cut", cut), ("resumed", None)):
        with (
            own_superlink(tmp_path / f"home-{attempt}", simulation=False) as superlink,
            supernode(superlink, nodes[0], tmp_path / f"{attempt}-0.log"),
            supernode(superlink, nodes[1], tmp_path / f"{attempt}-1.log"),
        ):
            if attempt == "cut":
                process = start(superlink, cut)
                wait_for_round(tmp_path / "cut", 2)
                os.killpg(superlink.pid, signal.SIGKILL)
                process.wait(60)
                continue
            if job is None:
                job = tmp_path / "resume.toml"
                kept = [line for line in cut.read_text().splitlines() if not line.startswith(("out", "name"))]
                job.write_text("\n".join([*kept, f'resume = "{tmp_path / "cut"}"', ""]))
                assert not (tmp_path / "cut" / "summary.json").exists()
            said = flwr_run(superlink, job)
            assert "error" not in said.lower(), said[-2000:]
    from safetensors.numpy import load_file

    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    for name, values in one.items():
        assert (values == other[name]).all(), name


def start(superlink: SuperLink, job: Path) -> subprocess.Popen[bytes]:
    from server.network import executable

    command = [executable("flwr"), "run", str(ROOT), "own", "--stream", "--run-config", str(job)]
    return subprocess.Popen(
        command, env=dict(superlink.environment), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def wait_for_round(folder: Path, number: int, *, patience: float = 120) -> None:
    deadline = time.monotonic() + patience
    while not (folder / "checkpoints" / f"round-{number:06d}.safetensors").exists():
        assert time.monotonic() < deadline
        time.sleep(0.2)
