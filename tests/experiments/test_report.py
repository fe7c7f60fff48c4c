"""Reports: numbers as the runs wrote them."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.report.figures import pareto_figure
from experiments.report.pareto import Offer
from experiments.report.run_files import read_run
from experiments.report.seed_groups import SeedGroup
from experiments.spread import spread
from server.records import summarize
from server.run_folder import RunFolder, read_records, rewrite_records, write_summary
from tests.experiments.comparisons import compare
from tests.experiments.report_html import parse
from tests.experiments.report_runs import cells, report, summary_of


def test_a_comparison_writes_the_report_that_the_command_makes_again(grid: Path, tmp_path: Path, capsys) -> None:
    report(grid, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == (grid / "report.html").read_bytes()
    assert f"report: {tmp_path / 'again.html'}" in capsys.readouterr().out


def test_every_run_is_shown_as_its_summary_says(grid: Path, tmp_path: Path) -> None:
    rows = {row["folder"]: row for row in report(grid, tmp_path / "r.html").rows("Every run")}
    assert set(rows) == {cell.name for cell in cells(grid)}
    shown = {
        "accuracy, %": "accuracy",
        "validation, %": "validation_accuracy",
        "last round, %": "final_accuracy",
        "chosen round": "chosen_round",
        "rounds": "rounds",
        "sent down": "bytes_down",
        "sent up": "bytes_up",
        "client FLOP": "flops_per_client",
        "lost": "lost",
        "refused": "refused",
    }
    for cell in cells(grid):
        summary = summary_of(cell)
        for heading, name in shown.items():
            assert float(rows[cell.name][heading]) == summary[name], (cell.name, name)
        assert float(rows[cell.name]["seconds"]) == pytest.approx(sum(summary["seconds"].values()))


def test_configurations_are_shown_as_the_summary_table_says(grid: Path, tmp_path: Path) -> None:
    page = report(grid, tmp_path / "r.html")
    with (grid / "summary.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    for line, row, texts in zip(lines, page.rows("Results"), page.tables["Results"][1:], strict=True):
        assert row["configuration"] == f"strategy={line['strategy']}"
        assert float(row["accuracy, %"]) == pytest.approx(float(line["accuracy_mean"]))
        half = 100 * float(line["accuracy_interval"])
        assert texts[2][0] == f"{100 * float(line['accuracy_mean']):.2f} ± {half:.2f}"
        for heading, name in (
            ("sent down", "bytes_down"),
            ("sent up", "bytes_up"),
            ("client FLOP", "flops_per_client"),
        ):
            assert float(row[heading]) == pytest.approx(float(line[name]))


def test_curves_are_means_over_seeds_against_what_was_spent(grid: Path, tmp_path: Path) -> None:
    figures = report(grid, tmp_path / "r.html").figures()
    own = [cell for cell in cells(grid) if "strategy=ist" in cell.name]
    records = [[json.loads(line) for line in (cell / "metrics.jsonl").read_text().splitlines()] for cell in own]
    accuracy = np.array([[100 * record["test_accuracy"] for record in run] for run in records])
    sent = np.cumsum([[record["bytes_down"] + record["bytes_up"] for record in run] for run in records], axis=1)
    traces = {
        trace["meta"]["part"]: trace
        for trace in figures["bytes"]["data"]
        if trace["meta"]["group"] == 0 and trace["meta"]["measure"] == "reported"
    }
    np.testing.assert_allclose(traces["mean"]["y"], accuracy.mean(axis=0), rtol=1e-5)
    unit = 1e3 if figures["bytes"]["layout"]["xaxis"]["title"]["text"].startswith("kB") else 1e6
    np.testing.assert_allclose(traces["mean"]["x"], sent.mean(axis=0) / unit, rtol=1e-5)
    top, bottom = np.split(np.array(traces["range"]["y"]), 2)
    np.testing.assert_allclose(top, accuracy.max(axis=0), rtol=1e-5)
    np.testing.assert_allclose(bottom[::-1], accuracy.min(axis=0), rtol=1e-5)
    half = 4.302653 * accuracy.std(axis=0, ddof=1) / np.sqrt(3)
    top, bottom = np.split(np.array(traces["interval"]["y"]), 2)
    np.testing.assert_allclose(top, np.minimum(100, accuracy.mean(axis=0) + half), rtol=1e-4)
    np.testing.assert_allclose(bottom[::-1], np.maximum(0, accuracy.mean(axis=0) - half), rtol=1e-4, atol=1e-6)


def test_figures_are_what_plotly_accepts(grid: Path, tmp_path: Path) -> None:
    from plotly.graph_objects import Figure

    figures = report(grid, tmp_path / "r.html").figures()
    along = {"rounds", "bytes", "flops", "seconds"}
    assert set(figures) == along | {"pareto", "missing", "clients", "split-0"}
    for figure in figures.values():
        Figure(figure)


def test_bytes_that_differ_much_get_a_logarithmic_axis(grid: Path, tmp_path: Path) -> None:
    from plotly.graph_objects import Figure

    runs = read_run(cells(grid)[0]).runs
    groups = [SeedGroup(index, f"<{index}>", "", {}, runs) for index in (0, 9)]
    points = [Offer(groups[0], spread([0.5]), 1e6, True), Offer(groups[1], spread([0.4, 0.5]), 9e6, False)]
    figure = pareto_figure(points)
    Figure(figure)
    assert figure["layout"]["xaxis"]["type"] == "log"
    _, first, second = figure["data"]
    assert (first["x"], second["x"]) == ([1.0], [9.0])
    assert (first["marker"]["symbol"], second["marker"]["symbol"]) == ("circle", "square-open")
    assert second["name"] == "&lt;9&gt;"
    assert (first["error_y"]["visible"], second["error_y"]["visible"]) == (False, True)


def test_lost_replies_are_counted(grid: Path, tmp_path: Path) -> None:
    page = report(grid, tmp_path / "r.html")
    for row in page.rows("Lost and refused replies"):
        own = [summary_of(cell) for cell in cells(grid) if row["configuration"] in cell.name]
        assert float(row["lost"]) == sum(summary["lost"] for summary in own) > 0
        assert float(row["asked"]) == sum(summary["asked"] for summary in own)


def test_only_differing_keys_are_shown_and_each_split_once(grid: Path, tmp_path: Path) -> None:
    page = report(grid, tmp_path / "r.html")
    assert [list(row.values()) for row in page.rows("Configurations")] == [
        ["strategy=ist", "ist"],
        ["strategy=fedavg", "fedavg"],
    ]
    shared = {row["key"] for row in page.rows("Shared configuration")}
    assert "mask-ratio" in shared
    assert not shared & {"strategy", "seed"}
    assert [name for name in page.figures() if name.startswith("split")] == ["split-0"]


def test_chosen_values_and_failed_cells_are_shown(tiny_encoder: str, tmp_path: Path) -> None:
    out, empty = tmp_path / "tuned", tmp_path / "empty"
    empty.mkdir()
    vary = ["-c", f"data-dir={empty}", "--vary", "dataset=digits,imagefolder"]
    vary += ["--tune", "learning-rate=1e-6,0.01", "--tune", "local-steps=1,2"]
    assert compare(tiny_encoder, out, *vary) == 1
    page = parse((out / "report.html").read_text(encoding="utf-8"))
    with (out / "tuning.csv").open(newline="") as stream:
        tried = [row for row in csv.DictReader(stream) if row["status"] == "done"]
    best = max(tried, key=lambda row: float(row["validation_accuracy"]))
    rows = page.rows("Values of learning-rate and local-steps")
    assert [(float(row["learning-rate"]), float(row["local-steps"])) for row in rows if row["outcome"] == "chosen"] == [
        (float(best["learning-rate"]), float(best["local-steps"]))
    ]
    assert "Rounds were not changed with local-steps" in page.text
    assert [float(row["validation accuracy, %"]) for row in rows if row["dataset"] == "digits"] == [
        float(row["validation_accuracy"]) for row in tried
    ]
    (problem,) = page.rows("Runs that failed or are not whole")
    assert problem["what"] == "failed"
    assert "no class folders there" in problem["why"]
    assert len(page.rows("Every run")) == 1


def test_clients_own_images_are_not_called_test_images(grid: Path, tmp_path: Path) -> None:
    cell = cells(grid)[0]
    records = read_records(RunFolder(cell))
    unserved = {"test_accuracy": None, "validation_accuracy": None}
    asked = [dataclasses.replace(r, clients_accuracy=r.test_accuracy, **unserved) for r in records]
    rewrite_records(RunFolder(cell), asked)
    write_summary(RunFolder(cell), summarize(asked))
    page = report(cell, tmp_path / "r.html")
    assert "the same images choose the round" in page.text
    assert "The test images chose nothing" not in page.text
    assert "data-choice" not in (tmp_path / "r.html").read_text().partition("<main>")[2].partition("</main>")[0]


def test_simulated_time_is_shown_where_runs_have_a_clock(tiny_encoder: str, finished: Path, tmp_path: Path) -> None:
    assert "simulated" not in (finished / "report.html").read_text().partition("<main>")[2].partition("</main>")[0]
    out = tmp_path / "clocked"
    slow = ["-c", "num-server-rounds=3", "-c", "strategy=fedavg"]
    free = [*slow, "--vary", "device-profiles=,phone*2", "--seeds", "2"]
    assert compare(tiny_encoder, out, *free) == 0
    with (out / "comparison.csv").open(newline="") as stream:
        rows = {(row["device-profiles"], row["seed"]): row for row in csv.DictReader(stream)}
    assert rows["", "0"]["simulated_seconds"] == ""
    page = parse((out / "report.html").read_text(encoding="utf-8"))
    for row in page.rows("Every run"):
        simulated = rows[("phone*2" if "phone" in row["configuration"] else ""), row["seed"]]["simulated_seconds"]
        assert row["simulated s"] == simulated
        assert row["late"] == "0"
    traces = page.figures()["simulated"]["data"]
    assert {trace["meta"]["group"] for trace in traces} == {1}
    (mean,) = (t for t in traces if t["meta"]["part"] == "mean" and t["meta"]["measure"] == "reported")
    ends = [float(rows["phone*2", seed]["simulated_seconds"]) for seed in "01"]
    assert mean["x"][-1] == pytest.approx(sum(ends) / 2, rel=1e-5)
    with (out / "summary.csv").open(newline="") as stream:
        without, clocked = csv.DictReader(stream)
    assert without["simulated_seconds"] == ""
    assert float(clocked["simulated_seconds"]) == pytest.approx(sum(ends) / 2)

    # A deadline between the fastest and the slowest round loses phones and keeps the server.
    limit = ["-c", f"round-deadline={sum(ends) / 2 / 8}", "-c", "device-profiles=server,phone*2"]
    assert compare(tiny_encoder, tmp_path / "late", *slow, *limit) == 0
    with (tmp_path / "late" / "comparison.csv").open(newline="") as stream:
        (cell,) = csv.DictReader(stream)
    late = parse((tmp_path / "late" / "report.html").read_text(encoding="utf-8"))
    (row,) = late.rows("Lost and refused replies")
    assert (row["late"], row["lost"]) == (cell["late"], cell["lost"])
    assert float(cell["late"]) == 6
    assert sum(float(reason["times"]) for reason in late.rows("Reasons")) == 6
    assert all(": late: " in reason["reason"] for reason in late.rows("Reasons"))
