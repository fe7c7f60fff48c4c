"""Reports: numbers as the runs wrote them, nothing fetched, everything escaped, and what is damaged is named."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.__main__ import main
from experiments.report.figures import pareto_figure
from experiments.report.pareto import Offer, front
from experiments.report.run_files import read_run
from experiments.report.seed_groups import SeedGroup, spread
from experiments.report.units import quantity
from server.records import summarize
from server.run_folder import RunFolder, read_records, rewrite_records, write_summary
from tests.experiments.report_html import Page, parse

SMALL = ["hidden-widths=24,20", "num-server-rounds=2", "local-steps=2", "batch-size=16", "num-clients=3"]


def compare(encoder: str, out: Path, *more: str) -> int:
    keys = [part for text in [f"encoder={encoder}", *SMALL] for part in ("-c", text)]
    return main(["compare", "demo", *keys, "--out", str(out), *more])


def report(*arguments: str | Path) -> Page:
    *folders, out = map(str, arguments)
    assert main(["report", *folders, "--out", out]) == 0
    return parse(Path(out).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(tiny_encoder: str, tmp_path_factory) -> Path:
    """A comparison of two strategies over three seeds, some of whose replies are lost."""
    out = tmp_path_factory.mktemp("comparison") / "grid"
    lossy = ["-c", "dropout-probability=0.4"]
    assert compare(tiny_encoder, out, "--vary", "strategy=ist,fedavg", "--seeds", "3", *lossy) == 0
    return out


@pytest.fixture
def grid(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "grid"))


def cells(grid: Path) -> list[Path]:
    return sorted((grid / "cells").iterdir())


def summary_of(cell: Path) -> dict:
    return json.loads((cell / "summary.json").read_text())


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


def test_run_folders_are_read_as_people_count(grid: Path, tmp_path: Path) -> None:
    for number, cell in zip((10, 9, 1), cells(grid), strict=False):
        shutil.copytree(cell, tmp_path / "runs" / f"demo-{number}")
    page = report(tmp_path / "runs", tmp_path / "r.html")
    assert [row["folder"] for row in page.rows("Every run")] == ["demo-1", "demo-9", "demo-10"]


def test_nothing_is_fetched(grid: Path, tmp_path: Path) -> None:
    from plotly.offline import get_plotlyjs

    page = report(grid, tmp_path / "r.html")
    whole = (tmp_path / "r.html").read_text(encoding="utf-8")
    ours = whole.replace(get_plotlyjs(), "")
    assert len(whole) - len(ours) > 1_000_000
    assert "http:" not in ours
    assert "https:" not in ours
    assert "@import" not in ours
    assert "url(" not in ours
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    (policy,) = (a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none';")


def test_tables_bring_their_sorting(grid: Path, tmp_path: Path) -> None:
    page = report(grid, tmp_path / "r.html")
    *_, (_, script) = page.scripts
    assert "table.sortable" in script
    sortable = [attributes for tag, attributes in page.tags if tag == "table"]
    assert len(sortable) >= 6
    assert all(attributes["class"] == "sortable" for attributes in sortable)


def test_what_users_wrote_is_shown_and_never_markup(grid: Path, tmp_path: Path, capsys) -> None:
    evil = "<script>alert('x')</script>\"&<img src=x onerror=alert(1)>"
    runs = tmp_path / "evil <b>&amp;"
    runs.mkdir()
    for index, cell in enumerate(cells(grid)[:2]):
        run = Path(shutil.copytree(cell, runs / f"<i>{index}"))
        config = run / "config.toml"
        config.write_text(config.read_text().replace('data-dir = ""', f"data-dir = {json.dumps(evil + str(index))}"))
        environment = json.loads((run / "environment.json").read_text())
        (run / "environment.json").write_text(json.dumps({**environment, "processor": evil}))
    (runs / "broken").mkdir()
    (runs / "broken" / "config.toml").write_text('"</script><script>alert(2)</script>" = 1\n')
    honest = report(grid, tmp_path / "honest.html")
    page = report(runs, tmp_path / "r.html")
    assert len(page.scripts) == len(honest.scripts) == 3
    allowed = {tag for tag, _ in honest.tags} | {"a"}
    assert {tag for tag, _ in page.tags} <= allowed
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert f"Runs of {runs.name}" in page.text
    assert evil in page.text
    (reason,) = (row["why"] for row in page.rows("Runs that failed or are not whole"))
    assert "</script><script>alert(2)</script>" in reason
    # Plotly reads a little markup in names; it decodes these entities and shows them.
    names = {trace["name"] for figure in page.figures().values() for trace in figure["data"]}
    assert not any("<" in name for name in names)
    capsys.readouterr()


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


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_the_front_holds_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    kept = front(points)
    best = [point for point, on in zip(points, kept, strict=True) if on]
    assert best
    for sent, accuracy in best:
        assert not any((s < sent and a >= accuracy) or (s <= sent and a > accuracy) for s, a in points)
    for point, on in zip(points, kept, strict=True):
        if not on:
            assert any(s <= point[0] and a >= point[1] for s, a in best)


def test_the_interval_is_students() -> None:
    """Quantiles of Student's t at 0.975 for 1 and 2 degrees of freedom, from the printed tables."""
    assert spread([0.4]).half is None
    assert spread([0.0, 2.0]).half == pytest.approx(12.7062, rel=1e-5)
    assert spread([1.0, 2.0, 3.0]).half == pytest.approx(4.30265 / np.sqrt(3), rel=1e-5)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(0.0, "B", "0 B"), (999.0, "B", "999 B"), (7_034_000.0, "B", "7.03 MB"), (4.89e9, "FLOP", "4.89 GFLOP")],
)
def test_quantities_have_three_digits(value: float, unit: str, shown: str) -> None:
    assert quantity(value, unit) == shown


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
