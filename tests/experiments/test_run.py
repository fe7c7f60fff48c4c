"""Whole runs in this process: the command, its folder, exact repetition, exact resuming, and mistakes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments.__main__ import main
from experiments.recipes import find_recipe, recipe_names
from fl_sparse.config import from_mapping
from server.progress import PlainWatcher
from strategies.registry import assignment_rule

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "hidden-widths=24,20",
    "num-server-rounds=4",
    "local-steps=3",
    "batch-size=16",
    "num-clients=3",
    "num-subnets=3",
]


def overrides(encoder: str, *more: str) -> list[str]:
    return [part for text in [f"encoder={encoder}", *SMALL, *more] for part in ("-c", text)]


def run(encoder: str, out: Path, name: str, *more: str) -> Path:
    assert main(["run", *overrides(encoder, *more), "--out", str(out), "--name", name]) == 0
    return out / name


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


def assert_equal_weights(one: Path, other: Path) -> None:
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    for name, values in left.items():
        np.testing.assert_array_equal(values, right[name], err_msg=name)


def test_a_run_leaves_a_whole_folder(tiny_encoder: str, tmp_path: Path, capsys) -> None:
    folder = run(tiny_encoder, tmp_path, "one")
    shown = capsys.readouterr().out
    assert f"run folder: {folder}" in shown
    assert "plot: " in shown
    assert "round 4/4" in shown
    assert max(len(line) for line in shown.splitlines() if ": " + str(tmp_path) not in line) <= 80
    assert {entry.name for entry in folder.iterdir()} == {
        "config.toml",
        "clients.json",
        "environment.json",
        "metrics.jsonl",
        "summary.json",
        "model.safetensors",
        "checkpoints",
        "accuracy.png",
        "split.png",
    }
    summary = json.loads((folder / "summary.json").read_text())
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["round"] for record in records] == [0, 1, 2, 3, 4]
    assert summary["rounds"] == 4
    assert summary["bytes_down"] == sum(record["bytes_down"] for record in records)
    chosen = max(records, key=lambda record: (record["validation_accuracy"], -record["round"]))
    assert summary["accuracy"] == chosen["test_accuracy"]
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        f"round-{number:06d}.safetensors" for number in (2, 3, 4)
    ]
    assert (folder / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert all(np.isfinite(values).all() for values in weights(folder).values())


@pytest.mark.parametrize(
    "more",
    [
        ("strategy=fedavg", "num-subnets=4"),
        ("optimizer=sgd", "learning-rate=0.1", "momentum=0.9"),
        ("activation=gelu", "normalization=layer", "scale=sqrt"),
        ("mask-schedule=resampled", "mask-views=2"),
        ("mask=shared", "partition=full"),
        ("mask=cloud", "mask-ratio=0.75", "test-mask-ratio=0.25"),
        ("partition=dirichlet", "alpha=0.5", "clients-per-round=2"),
        ("pooling=cls", "standardize=false", "mask-ratio=0"),
        ("num-clients=7", "num-subnets=3"),
        ("num-clients=2", "num-subnets=20"),
        ("hidden-widths=30", "num-subnets=4"),
        ("evaluate=clients",),
        ("evaluate=none",),
        ("init=ridge",),
        ("init=ridge", "ridge-penalty=10", "evaluate=clients", "mask-schedule=resampled", "mask-views=2"),
        ("evaluate-every=3",),
        ("proximal=0.1", "repartition-every=2"),
        ("strategy=fjord", "num-subnets=4", "dropout-probability=0.9"),
        ("strategy=fjord", "num-subnets=4", "self-distillation=true", "capacities=1,0.4"),
        ("server-optimizer=momentum", "strategy=ist-capacity", "capacities=1,0.5"),
        ("optimizer-state=kept", "num-clients=5", "dropout-probability=0.3"),
        ("optimizer-state=kept", "optimizer=sgd", "momentum=0.9", "proximal=0.1", "init=ridge", "evaluate-every=2"),
        ("optimizer-state=kept", "strategy=heterofl", "num-subnets=4", "capacities=1,0.5", "server-optimizer=adam"),
        ("optimizer-state=kept", "strategy=fjord", "num-subnets=4", "self-distillation=true"),
    ],
    ids=" ".join,
)
def test_every_option_runs_and_repeats_bit_for_bit(more: tuple[str, ...], tiny_encoder: str, tmp_path: Path) -> None:
    one, other = run(tiny_encoder, tmp_path, "one", *more), run(tiny_encoder, tmp_path, "other", *more)
    assert_equal_weights(one, other)
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def test_clients_evaluate_what_they_kept_back_after_every_round(tiny_encoder: str, tmp_path: Path, caplog) -> None:
    folder = run(tiny_encoder, tmp_path, "one", "evaluate=clients", "clients-per-round=1")
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= record["clients_accuracy"] <= 1 for record in records[1:])
    assert not caplog.records
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["accuracy"] == max(record["clients_accuracy"] for record in records[1:])
    assert summary["accuracy_of"] == "clients' held-out images"


def test_data_seed_changes_data_and_seed_changes_training(tiny_encoder: str, tmp_path: Path) -> None:
    base = run(tiny_encoder, tmp_path, "base")
    seeded = run(tiny_encoder, tmp_path, "seeded", "seed=1")
    reseeded = run(tiny_encoder, tmp_path, "reseeded", "data-seed=1")
    np.testing.assert_array_equal(weights(base)["standardizer.mean"], weights(seeded)["standardizer.mean"])
    assert not np.array_equal(weights(base)["output.weight"], weights(seeded)["output.weight"])
    assert not np.array_equal(weights(base)["standardizer.mean"], weights(reseeded)["standardizer.mean"])


def test_a_run_cut_off_anywhere_goes_on_exactly(tiny_encoder: str, tmp_path: Path) -> None:
    """A real process killed without warning, whatever it was doing, then resumed."""
    rounds = ["num-server-rounds=300", "num-clients=3", "server-optimizer=adam", "server-learning-rate=0.001"]
    whole = run(tiny_encoder, tmp_path, "whole", *rounds)
    command = [sys.executable, "-m", "experiments", "run", *overrides(tiny_encoder, *rounds)]
    cut = tmp_path / "cut"
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path), "--name", "cut"], cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while len(list((cut / "checkpoints").glob("round-00003*"))) < 1 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (cut / "summary.json").exists()
    assert main(["run", "--resume", str(cut)]) == 0
    assert_equal_weights(whole, cut)
    rounds_seen = [json.loads(line)["round"] for line in (cut / "metrics.jsonl").read_text().splitlines()]
    assert rounds_seen == list(range(301))


def test_resuming_another_configuration_or_a_finished_run_is_refused(tiny_encoder: str, tmp_path: Path, capsys) -> None:
    folder = run(tiny_encoder, tmp_path, "one")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(["run", "--resume", str(folder)]) == 2
    assert "holds a finished run" in capsys.readouterr().err
    assert main(["run", "--resume", str(folder), "-c", "seed=5"]) == 2
    assert "another configuration: seed = 0 there, 5 here" in capsys.readouterr().err
    assert main(["run", *overrides(tiny_encoder), "--out", str(tmp_path), "--name", "one"]) == 2
    assert "already holds another run" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_run_that_keeps_its_optimizers_goes_on_exactly(tiny_encoder: str, tmp_path: Path) -> None:
    more = ("optimizer-state=kept", "dropout-probability=0.3", "num-server-rounds=6")
    whole, cut = run(tiny_encoder, tmp_path, "whole", *more), run(tiny_encoder, tmp_path, "cut", *more)
    (cut / "summary.json").unlink()
    for number in (5, 6):
        (cut / "checkpoints" / f"round-{number:06d}.safetensors").unlink()
    assert main(["run", "--resume", str(cut)]) == 0
    last = [load_file(folder / "checkpoints" / "round-000006.safetensors") for folder in (whole, cut)]
    assert any(name.startswith("optimizer.second.") and values.any() for name, values in last[0].items())
    assert last[0].keys() == last[1].keys()
    for name, values in last[0].items():
        np.testing.assert_array_equal(values, last[1][name], err_msg=name)


def test_stopping_says_how_to_go_on(tiny_encoder: str, tmp_path: Path, capsys, monkeypatch) -> None:
    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PlainWatcher, "round", interrupt)
        arguments = ["run", *overrides(tiny_encoder), "--out", str(tmp_path), "--name", "one"]
        assert main(arguments) == 130
    assert capsys.readouterr().err == f"stopped; go on with: python -m experiments run --resume {tmp_path / 'one'}\n"
    assert main(["run", "--resume", str(tmp_path / "one")]) == 0


def test_metrics_that_lack_rounds_are_not_gone_on_from(tiny_encoder: str, tmp_path: Path, capsys) -> None:
    folder = run(tiny_encoder, tmp_path, "one")
    (folder / "summary.json").unlink()
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:2] + lines[3:]))
    assert main(["run", "--resume", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "metrics.jsonl lacks rounds up to 4" in said
    assert "no earlier round can be gone on from" in said


@pytest.mark.parametrize("damage", ["checkpoint", "cut line", "line"])
def test_advice_on_a_damaged_run_leads_to_the_same_end(damage: str, tiny_encoder: str, tmp_path: Path, capsys) -> None:
    whole, folder = run(tiny_encoder, tmp_path, "whole"), run(tiny_encoder, tmp_path, "one")
    (folder / "summary.json").unlink()
    newest, metrics = folder / "checkpoints" / "round-000004.safetensors", folder / "metrics.jsonl"
    text = metrics.read_text()
    if damage == "checkpoint":
        newest.write_bytes(newest.read_bytes()[:-5])
    else:
        metrics.write_text(text[:-9] + ("" if damage == "cut line" else "\n"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main(["run", "--resume", str(folder)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    more = " and the lines of metrics.jsonl from 5 on" if damage == "line" else ""
    assert said.endswith(f"; to go on from round 3, delete checkpoints/round-000004.safetensors{more}\n")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    newest.unlink()
    if more:
        metrics.write_text("".join(text.splitlines(keepends=True)[:4]))
    assert main(["run", "--resume", str(folder)]) == 0
    assert_equal_weights(whole, folder)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "dmeo"], "recipe 'dmeo' is unknown; did you mean 'demo'?"),
        (["run", "zzz"], "names: "),
        (["run", "zzz"], "all are in: python -m experiments run --help"),
        (["run", "demo", "--resume", "there"], "recipe demo and --resume there: "),
        (["run", "-c", "fold=3"], "fold = 3: needs folds, the number of them, as in folds = 4"),
        (["run", "-c", "mask=natural"], "no image of dataset 'digits' has any"),
        (["compare", "demo", "--tune", "foo=1", "--out", "x"], "all are in: python -m experiments run --help"),
        (["compare", "demo", "--seeds", "0", "--out", "x"], "error: --seeds 0: expected 1 or more\n"),
        (["run", "-c", "mask-ratoi=0.5"], "did you mean 'mask-ratio'?"),
        (["run", "-c", "mask-ratio=0.99"], "mask-ratio = 0.99 is out of range; expected 0 to 0.95"),
        (["run", "-c", "num-subnets=0"], "num-subnets = 0"),
        (["run", "-c", "num-subnets=2000"], "wider than hidden layer 0 of 1000 units"),
        (["run", "-c", "strategy=fedavgg"], "did you mean 'fedavg'?"),
        (["run", "-c", "dataset=digitz"], "did you mean 'digits'?"),
        (["run", "-c", "dataset=parquet", "-c", "data-dir=/no/such/folder"], "/no/such/folder"),
        (["run", "-c", "dataset=imagefolder", "-c", "data-dir=/no/such/folder"], "/no/such/folder"),
        (["run", "-c", "encoder=/no/such/encoder.safetensors"], "/no/such/encoder.safetensors"),
        (["run", "-c", "dataset=digitz", "--backend", "ray"], "did you mean 'digits'?"),
        (["run", "-c", "encoder-normalization=haf"], "encoder normalization 'haf'"),
        (["run", "-c", "partition=natural"], "natural"),
        (["run", "-c", "optimizer-state=kept", "-c", "optimizer=sgd"], "optimizer-state = 'kept': optimizer 'sgd'"),
        (["run", "-c", "num-clients=2", "-c", "clients-per-round=3"], "clients-per-round = 3"),
        (["run", "--resume", "/no/such/run"], "/no/such/run holds no run"),
        (["run", "no/such.toml"], "no/such.toml"),
        (["run", "--out", "/dev/null/runs"], "output folder /dev/null/runs/run-1: /dev/null is no folder"),
        (["closed-form", "demo", "--out", "no/such/file.json"], "expected a new file in an existing folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, words: str, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert len(error) < 300
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["rnu"], ["run", "--backend", "rai"], ["run", "demo", "more"], ["compare"]])
def test_wrong_arguments_are_one_line_too(arguments: list[str], capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_a_store_that_cannot_be_written_is_named(tiny_encoder: str, tmp_path: Path, capsys, monkeypatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("FL_SPARSE_STORE", str(tmp_path / "file"))
    assert main(["run", *overrides(tiny_encoder), "--out", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert f"store {tmp_path / 'file'}" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_parses_and_builds(name: str) -> None:
    _, values = find_recipe(name)
    config = from_mapping(values, source=name)
    assert assignment_rule(config).place(1, []) == []


def test_help_teaches(capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["run", "--help"])
    shown = capsys.readouterr().out
    assert "python -m experiments run demo" in shown
    assert "mask-ratio = 0.5" in shown
    assert "demo" in shown


@pytest.mark.parametrize("command", ["run", "compare", "report", "figure", "closed-form", "bench"])
def test_help_fits_a_terminal(command: str, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) < 80
