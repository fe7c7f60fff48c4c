"""What the report reads: damaged and unfinished runs are named, and what is no run is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from experiments.__main__ import main
from tests.experiments.comparisons import compare
from tests.experiments.report_html import parse
from tests.experiments.report_runs import cells, report, summary_of


def test_run_folders_are_read_as_people_count(grid: Path, tmp_path: Path) -> None:
    for number, cell in zip((10, 9, 1), cells(grid), strict=False):
        shutil.copytree(cell, tmp_path / "runs" / f"demo-{number}")
    page = report(tmp_path / "runs", tmp_path / "r.html")
    assert [row["folder"] for row in page.rows("Every run")] == ["demo-1", "demo-9", "demo-10"]


def test_damaged_and_unfinished_runs_are_named(grid: Path, tmp_path: Path) -> None:
    torn, cut, changed, gone, nameless, whole = cells(grid)
    (torn / "summary.json").write_text("{")
    (cut / "summary.json").unlink()
    changed_summary = summary_of(changed)
    (changed / "summary.json").write_text(json.dumps({**changed_summary, "accuracy": 1.0}))
    shutil.rmtree(gone)
    records = (nameless / "metrics.jsonl").read_text()
    (nameless / "metrics.jsonl").write_text(records.replace('"bytes_up": ', '"bytes_up": -'))
    page = report(grid, tmp_path / "r.html")
    assert [(row["configuration"], row["folder"]) for row in page.rows("Every run")] == [
        ("strategy=ist", whole.name),
        ("strategy=fedavg (unfinished)", cut.name),
    ]
    said = {row["run"]: (row["what"], row["why"]) for row in page.rows("Runs that failed or are not whole")}
    assert said[torn.name][0] == "damaged"
    assert "summary.json: no JSON" in said[torn.name][1]
    assert said[cut.name] == ("not finished", "it reached round 2 of 2; `run --resume` goes on with it")
    assert "accuracy is 1.0, but metrics.jsonl gives" in said[changed.name][1]
    assert "its folder is gone" in said[gone.name][1]
    assert "bytes_up is -" in said[nameless.name][1]
    assert len(said) == 5


def test_an_unfinished_comparison_shows_its_cells(grid: Path, tmp_path: Path) -> None:
    (grid / "comparison.csv").unlink()
    page = report(grid, tmp_path / "r.html")
    assert len(page.rows("Every run")) == 6
    assert [row["why"] for row in page.rows("Runs that failed or are not whole")] == [
        "its comparison.csv is not written yet"
    ]
    (grid / "comparison.csv").write_text("recipe,seed\ndemo,zero\n")
    assert "its tables cannot be read" in report(grid, tmp_path / "other.html").text


def test_a_run_that_is_given_twice_counts_once(grid: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(cells(grid)[0], tmp_path / "copy"))
    page = report(cells(grid)[0], copy, tmp_path / "r.html")
    assert [row["folder"] for row in page.rows("Every run")] == [cells(grid)[0].name]
    ((*_, reason),) = (row.values() for row in page.rows("Runs that failed or are not whole"))
    assert "same configuration and seed" in reason


def test_a_run_that_evaluates_nothing_is_named(tiny_encoder: str, tmp_path: Path) -> None:
    assert compare(tiny_encoder, tmp_path / "mute", "-c", "evaluate=none") == 0
    page = parse((tmp_path / "mute" / "report.html").read_text(encoding="utf-8"))
    assert "never evaluated" in page.text
    assert "No run has a result to show." in page.text


@pytest.mark.parametrize(
    "make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text("no folder")]
)
def test_a_folder_without_a_run_is_one_line_and_exit_code_2(make, grid: Path, tmp_path: Path, capsys) -> None:
    make(tmp_path / "nothing")
    out = tmp_path / "r.html"
    assert main(["report", str(grid), str(tmp_path / "nothing"), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert str(tmp_path / "nothing") in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_an_existing_file_stays_unless_forced(grid: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "r.html"
    out.write_text("mine")
    assert main(["report", str(grid), "--out", str(out)]) == 2
    assert "already exists; --force replaces it" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "none"), "--out", str(out), "--force"]) == 2
    assert out.read_text() == "mine"
    assert main(["report", str(grid), "--out", str(out), "--force"]) == 0
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert main(["report", str(grid), "--out", str(tmp_path), "--force"]) == 2
    assert main(["report", str(grid), "--out", str(tmp_path / "no" / "r.html")]) == 2
