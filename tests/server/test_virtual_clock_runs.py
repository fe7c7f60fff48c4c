"""Whole runs with a virtual clock: records, exact resuming with a deadline, old folders, and a hopeless deadline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments.__main__ import main
from server.run_folder import RunFolder, read_records
from strategies.round.strategy import SubmodelStrategy

DEVICES = "server,phone,raspberry-pi-4"
SMALL = ["hidden-widths=24,20", "num-server-rounds=4", "local-steps=3", "batch-size=16", "num-clients=4"]
CLOCK = [f"device-profiles={DEVICES}", "num-subnets=2"]


def run(encoder: str, out: Path, name: str, *more: str) -> Path:
    keys = [part for text in [f"encoder={encoder}", *SMALL, *CLOCK, *more] for part in ("-c", text)]
    assert main(["run", *keys, "--out", str(out), "--name", name]) == 0
    return out / name


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def free(tiny_encoder: str, tmp_path_factory) -> Path:
    return run(tiny_encoder, tmp_path_factory.mktemp("clock"), "free")


@pytest.fixture(scope="module")
def between(free: Path) -> float:
    """A deadline that the server meets and phones do not."""
    return lines(free)[1]["simulated_seconds"] * 0.9


def test_every_round_has_its_simulated_seconds(free: Path) -> None:
    records = lines(free)
    assert all(record["simulated_seconds"] > 0 for record in records)
    assert all(record["late"] == 0 for record in records)
    summary = json.loads((free / "summary.json").read_text())
    assert summary["simulated_seconds"] == sum(record["simulated_seconds"] for record in records)
    assert summary["late"] == 0


def test_a_clock_without_a_deadline_changes_no_bit(tiny_encoder: str, free: Path, tmp_path: Path) -> None:
    plain = run(tiny_encoder, tmp_path, "plain", "device-profiles=")
    left, right = load_file(plain / "model.safetensors"), load_file(free / "model.safetensors")
    for key, values in left.items():
        np.testing.assert_array_equal(values, right[key])
    assert {record["simulated_seconds"] for record in lines(plain)} == {None}
    assert json.loads((plain / "summary.json").read_text())["simulated_seconds"] is None
    assert [record["bytes_down"] for record in lines(plain)] == [record["bytes_down"] for record in lines(free)]


def test_round_0_is_the_questions_bytes(tiny_encoder: str, tmp_path: Path) -> None:
    folder = run(tiny_encoder, tmp_path, "one", "num-clients=2", "num-server-rounds=1", "device-profiles=phone")
    # The question and its answers are as long for both clients.
    asked, answered = lines(folder)[0]["bytes_down"] / 2, lines(folder)[0]["bytes_up"] / 2
    expected = asked * 8 / 35.96e6 + answered * 8 / 11.22e6
    assert lines(folder)[0]["simulated_seconds"] == pytest.approx(expected, rel=1e-12)
    started = run(
        tiny_encoder, tmp_path, "ridge", "num-clients=2", "num-server-rounds=1", "device-profiles=phone", "init=ridge"
    )
    extra = lines(started)[0]["bytes_down"] - 2 * asked, lines(started)[0]["bytes_up"] - 2 * answered
    # The Gram question and its answers are as long for both clients.
    more = extra[0] / 2 * 8 / 35.96e6 + extra[1] / 2 * 8 / 11.22e6
    assert lines(started)[0]["simulated_seconds"] == pytest.approx(expected + more, rel=1e-12)


def test_going_on_with_a_deadline_is_exact(tiny_encoder: str, between: float, tmp_path: Path) -> None:
    keys = [f"round-deadline={between}", "dropout-probability=0.3", "clients-per-round=3"]
    whole = run(tiny_encoder, tmp_path, "whole", *keys)
    cut = Path(shutil.copytree(whole, tmp_path / "cut"))
    (cut / "summary.json").unlink()
    for number in (3, 4):
        (cut / "checkpoints" / f"round-{number:06d}.safetensors").unlink()
    assert main(["run", "--resume", str(cut)]) == 0
    left, right = load_file(whole / "model.safetensors"), load_file(cut / "model.safetensors")
    for key, values in left.items():
        np.testing.assert_array_equal(values, right[key])
    told = ("simulated_seconds", "late", "lost", "answered", "reasons", "train_loss")
    assert [[r[key] for key in told] for r in lines(whole)] == [[r[key] for key in told] for r in lines(cut)]
    assert sum(record["late"] for record in lines(whole)) > 0


def test_folders_without_a_clocks_entries_are_read(free: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(free, tmp_path / "old"))
    stripped = [{k: v for k, v in record.items() if k not in ("late", "simulated_seconds")} for record in lines(old)]
    (old / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in stripped))
    records = read_records(RunFolder(old))
    assert {(record.late, record.simulated_seconds) for record in records} == {(0, None)}
    summary = json.loads((old / "summary.json").read_text())
    (old / "summary.json").write_text(
        json.dumps({k: v for k, v in summary.items() if k not in ("late", "simulated_seconds")})
    )
    config = old / "config.toml"
    kept = [line for line in config.read_text().splitlines() if not line.startswith(("device-", "round-deadline"))]
    config.write_text("\n".join(kept) + "\n")
    assert main(["report", str(old), "--out", str(tmp_path / "r.html")]) == 0


def test_a_hopeless_deadline_ends_before_the_start(tiny_encoder: str, tmp_path: Path, capsys) -> None:
    keys = [f"encoder={tiny_encoder}", *SMALL, *CLOCK, "round-deadline=1e-6"]
    command = ["run", *[part for key in keys for part in ("-c", key)], "--out", str(tmp_path / "runs")]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "error: round-deadline = 1e-06 s: no client can answer in time in any of 4 rounds; the fastest, client "
    )
    assert " (server), takes " in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "keys",
    [
        ["update-format=bfloat16"],
        ["update-format=int8", "error-feedback=true", "repartition-every=9"],
        ["init=ridge"],
        ["optimizer-state=kept"],
        ["strategy=fjord", "num-subnets=4", "capacities=1,1/2"],
    ],
    ids=lambda keys: keys[0],
)
def test_replies_of_real_training_are_as_long_as_foreseen(
    keys: list[str], tiny_encoder: str, tmp_path: Path, monkeypatch
) -> None:
    aggregate, met = SubmodelStrategy.aggregate_train, []

    def compared(self, server_round, replies):
        foreseen = dict(self._times)
        result = aggregate(self, server_round, replies)
        assert self._times == foreseen
        met.append(len(foreseen))
        return result

    monkeypatch.setattr(SubmodelStrategy, "aggregate_train", compared)
    run(tiny_encoder, tmp_path, "run", *keys)
    assert met == [4] * 4
