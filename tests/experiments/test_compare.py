"""A comparison: its tables, going on, parallel cells, failures, and mistakes."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments.__main__ import main
from tests.experiments.comparisons import compare


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_grid_becomes_two_tables(tiny_encoder: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / "grid"
    assert (
        compare(tiny_encoder, out, "--vary", "strategy=ist,fedavg", "--vary", "mask-ratio=0,0.5", "--seeds", "2") == 0
    )
    cells, lines = rows(out / "comparison.csv"), rows(out / "summary.csv")
    assert len(cells) == 8
    assert {(c["strategy"], c["mask-ratio"], c["seed"]) for c in cells} == {
        (s, r, k) for s in ("ist", "fedavg") for r in ("0.0", "0.5") for k in "01"
    }
    assert {c["status"] for c in cells} == {"done"}
    for line in lines:
        own = [float(c["accuracy"]) for c in cells if all(c[k] == line[k] for k in ("strategy", "mask-ratio"))]
        mean = sum(own) / 2
        spread = math.sqrt(sum((value - mean) ** 2 for value in own))
        assert float(line["accuracy_mean"]) == pytest.approx(mean)
        assert float(line["accuracy_std"]) == pytest.approx(spread)
        assert float(line["accuracy_interval"]) == pytest.approx(12.7062 * spread / math.sqrt(2), rel=1e-4)
    shown = capsys.readouterr().out
    table = [line for line in shown.splitlines() if line[:1] in "┏┃┡│└"]
    assert len(table) >= 8
    assert max(map(len, table)) <= 80


def test_cells_do_not_share_a_folder(tiny_encoder: str, tmp_path: Path, capsys) -> None:
    assert compare(tiny_encoder, tmp_path / "grid", "--vary", "data-dir=a/b,a:b") == 2
    assert "two cells would share the folder demo_data-dir=a_b_seed=0" in capsys.readouterr().err
    assert not (tmp_path / "grid" / "cells").exists()


def test_finished_cells_are_kept(tiny_encoder: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / "grid"
    assert compare(tiny_encoder, out, "--vary", "num-subnets=1,2") == 0
    stamps = {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("summary.json")}
    first = (out / "comparison.csv").read_text()
    (out / "comparison.csv").unlink()
    assert compare(tiny_encoder, out, "--vary", "num-subnets=1,2") == 0
    assert "2 of 2 cells are finished already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("summary.json")} == stamps
    assert (out / "comparison.csv").read_text() == first


def test_an_unfinished_cell_is_resumed(tiny_encoder: str, tmp_path: Path) -> None:
    out, again = tmp_path / "grid", tmp_path / "again"
    assert compare(tiny_encoder, out) == 0
    assert compare(tiny_encoder, again) == 0
    (cell,) = (again / "cells").iterdir()
    (cell / "summary.json").unlink()
    (cell / "checkpoints" / "round-000002.safetensors").unlink()
    assert compare(tiny_encoder, again) == 0
    whole, resumed = (load_file(next((path / "cells").iterdir()) / "model.safetensors") for path in (out, again))
    for name, values in whole.items():
        np.testing.assert_array_equal(resumed[name], values)


def test_cells_run_in_parallel_alike(tiny_encoder: str, tmp_path: Path) -> None:
    for name, jobs in (("one", "1"), ("two", "2")):
        assert compare(tiny_encoder, tmp_path / name, "--seeds", "2", "--jobs", jobs) == 0
    one, two = (rows(tmp_path / name / "comparison.csv") for name in ("one", "two"))
    timeless = [[{k: v for k, v in row.items() if k != "seconds"} for row in table] for table in (one, two)]
    assert timeless[0] == timeless[1]


def test_the_tuned_value_is_best_on_validation(tiny_encoder: str, tmp_path: Path) -> None:
    out = tmp_path / "grid"
    assert compare(tiny_encoder, out, "--tune", "learning-rate=1e-6,0.01", "--seeds", "2") == 0
    tried = rows(out / "tuning.csv")
    best = max(tried, key=lambda row: float(row["validation_accuracy"]))
    assert {row["learning-rate"] for row in rows(out / "comparison.csv")} == {best["learning-rate"]}
    assert len(tried) == 2
    assert [row["seed"] for row in rows(out / "comparison.csv")] == ["0", "1"]


def test_several_keys_are_tuned_over_every_combination(tiny_encoder: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / "grid"
    learns = [part for text in ("num-server-rounds=6", "num-clients=2", "mask-ratio=0") for part in ("-c", text)]
    grid = ["--tune", "learning-rate=1e-6,0.03", "--tune", "local-steps=10,2"]
    assert compare(tiny_encoder, out, *learns, "--vary", "num-subnets=1,2", *grid, "--seeds", "2") == 0
    tried, cells = rows(out / "tuning.csv"), rows(out / "comparison.csv")
    assert [(row["num-subnets"], row["learning-rate"], row["local-steps"]) for row in tried] == [
        (s, r, t) for s in "12" for r in ("1e-06", "0.03") for t in ("10", "2")
    ]
    for subnets in "12":
        own = [row for row in tried if row["num-subnets"] == subnets]
        best = max(own, key=lambda row: float(row["validation_accuracy"]))
        assert best is own[2]
        chosen = [row for row in cells if row["num-subnets"] == subnets]
        assert [(row["seed"], row["learning-rate"], row["local-steps"]) for row in chosen] == [
            (seed, "0.03", "10") for seed in "01"
        ]
        assert chosen[0]["validation_accuracy"] == best["validation_accuracy"]
        assert len({(row["rounds"], row["bytes_down"], row["bytes_up"]) for row in own}) == 1
        work = {row["local-steps"]: float(row["flops_per_client"]) for row in own}
        assert work["10"] == pytest.approx(5 * work["2"], rel=0.05)  # an epoch's last batch is short
    assert "4 runs a line" in capsys.readouterr().out


def test_the_first_of_equals_is_chosen(tiny_encoder: str, tmp_path: Path) -> None:
    out = tmp_path / "grid"
    assert compare(tiny_encoder, out, "--tune", "learning-rate=1e-9,1e-10", "--tune", "local-steps=2,1") == 0
    assert len({row["validation_accuracy"] for row in rows(out / "tuning.csv")}) == 1
    (row,) = rows(out / "comparison.csv")
    assert (row["learning-rate"], row["local-steps"]) == ("1e-09", "2")


def test_a_bare_tune_is_the_fixed_grid(tiny_encoder: str, tmp_path: Path) -> None:
    out = tmp_path / "grid"
    assert compare(tiny_encoder, out, "-c", "num-server-rounds=1", "--tune") == 0
    assert [(float(row["learning-rate"]), int(row["local-steps"])) for row in rows(out / "tuning.csv")] == [
        (rate, steps) for rate in (1e-4, 3e-4, 1e-3) for steps in (10, 20)
    ]
    assert compare(tiny_encoder, out, "-c", "num-server-rounds=1", "--tune", "learning-rate=1e-4,3e-4,1e-3") == 2


def test_a_folder_from_before_a_key_existed_goes_on(tiny_encoder: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / "grid"
    assert compare(tiny_encoder, out, "--tune", "learning-rate=0.01,0.001") == 0
    described = json.loads((out / "grid.json").read_text())
    assert described["tune"] == {"learning-rate": [0.01, 0.001]}
    del described["lines"][0]["config"]["repartition-every"]
    (out / "grid.json").write_text(json.dumps(described, indent=1) + "\n")
    assert compare(tiny_encoder, out, "--tune", "learning-rate=0.01,0.001") == 0
    assert compare(tiny_encoder, out, "--tune", "learning-rate=0.01,0.001", "-c", "repartition-every=2") == 2
    (out / "grid.json").write_text("{")
    assert compare(tiny_encoder, out, "--tune", "learning-rate=0.01,0.001") == 2
    assert capsys.readouterr().err.count("holds another comparison") == 2


def test_a_failed_cell_is_reported_and_the_others_finish(tiny_encoder: str, tmp_path: Path, capsys) -> None:
    out, empty = tmp_path / "grid", tmp_path / "empty"
    empty.mkdir()
    assert compare(tiny_encoder, out, "-c", f"data-dir={empty}", "--vary", "dataset=digits,imagefolder") == 1
    done, failed = rows(out / "comparison.csv")
    assert (done["status"], failed["status"]) == ("done", "failed")
    assert "no class folders there" in failed["reason"]
    assert "1 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["demo", "--vary", "mask-ratoi=1"], "did you mean 'mask-ratio'?"),
        (["demo", "--vary", "seed=1,2"], "seeds are counted by --seeds"),
        (["demo", "--vary", "mask-ratio=0,0.0"], "expected different values"),
        (["demo", "--vary", "mask-ratio="], "mask-ratio"),
        (["demo", "--vary", "local-steps=1,2", "-c", "local-steps=3"], "3 and --vary both name local-steps"),
        (["demo", "--tune", "local-steps=1,2", "-c", "local-steps=3"], "3 and --tune both name local-steps"),
        (["demo", "--vary", "mask-ratio=0", "--vary", "mask-ratio=0.5"], "--vary names mask-ratio twice"),
        (["demo", "--vary", "mask-ratio=0,0.99"], "mask-ratio = 0.99"),
        (["demo", "demo"], "named twice"),
        (["dmeo"], "did you mean 'demo'?"),
        (["demo", "--seeds", "0"], "--seeds 0"),
        (["demo", "-c", "seed=7"], "seeds are counted by --seeds"),
        (
            ["demo", "--vary", "mask-ratio=0,0.5", "--tune", "mask-ratio=0,0.1"],
            "--tune and --vary both name mask-ratio",
        ),
        (["demo", "--tune", "mask-ratio=0,0.99"], "mask-ratio = 0.99"),
        (["demo", "--tune", "num-subnets=1,2", "-c", "strategy=fedavg"], "strategy 'fedavg' does not take it"),
        (["demo", "--tune", "--tune", "local-steps=5"], "--tune names local-steps twice"),
        (["demo", "--vary", "local-steps=5,10", "--tune"], "--tune and --vary both name local-steps"),
        (["demo", "--tune", "seed=0,1"], "seeds are counted by --seeds"),
        (["demo", "--vary", "strategy=fedavgg"], "did you mean 'fedavg'?"),
        (["demo", "--vary", "dataset=digits,digitz"], "unknown dataset 'digitz'; did you mean 'digits'?"),
        (["demo", "--vary", "dataset=digits,parquet"], "dataset 'parquet' needs data-dir"),
        (["demo", "-c", "dataset=imagefolder", "-c", "data-dir=/no/such/folder"], "/no/such/folder"),
        (["demo", "--vary", "encoder=shipped,/no/such/encoder.safetensors"], "/no/such/encoder.safetensors"),
        (["demo", "--vary", "encoder-normalization=model,haf"], "encoder normalization 'haf'"),
        (["demo", "--vary", "partition=iid,natural"], "needs id-column"),
        (["demo", "--vary", "partition=iid,dirichlt"], "did you mean 'dirichlet'?"),
        (["demo", "--tune", "dataset=digits,digitz"], "unknown dataset 'digitz'"),
        (["demo", "-c", "id-column=user"], "dataset 'digits' has no columns"),
        (["demo", "-c", "dataset=hf:"], "expected hf:NAME"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line_and_exit_code_2(arguments: list[str], words: str, tmp_path: Path, capsys) -> None:
    assert main(["compare", *arguments, "--out", str(tmp_path / "grid")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "grid").exists()


def test_another_grid_in_the_folder_is_refused(tiny_encoder: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / "grid"
    assert compare(tiny_encoder, out) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert compare(tiny_encoder, out, "--seeds", "2") == 2
    assert "holds another comparison" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_value_with_commas_is_quoted(tiny_encoder: str, tmp_path: Path) -> None:
    out = tmp_path / "grid"
    assert compare(tiny_encoder, out, "--vary", 'hidden-widths="24,20",30') == 0
    assert [row["hidden-widths"] for row in rows(out / "comparison.csv")] == ["24,20", "30"]


def test_closed_form_prints_and_writes(tiny_encoder: str, tmp_path: Path, capsys) -> None:
    command = ["closed-form", "demo", "-c", f"encoder={tiny_encoder}", "--out", str(tmp_path / "ridge.json")]
    assert main(command) == 0
    assert "ridge: " in capsys.readouterr().out
    assert main(command) == 2
    assert "expected a new file in an existing folder" in capsys.readouterr().err


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("kept")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert main(["compare", "demo", "--out", str(out)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "kept"
