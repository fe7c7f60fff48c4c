"""The report on costs, single clients and splits: as the runs wrote it, and absent where older runs wrote nothing."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from plotly.graph_objects import Figure

from experiments.__main__ import main
from experiments.report.client_sections import accuracy_figure
from experiments.report.run_files import read_run
from experiments.report.seed_groups import group_seeds
from server.client_table import read_clients
from server.run_folder import read_config
from tests.experiments.report_html import Page, parse

SMALL = ["hidden-widths=24,20", "num-server-rounds=3", "local-steps=2", "batch-size=16", "num-clients=3", "alpha=0.3"]
NEW = ("weights", "bytes_of", "crossover", "client_accuracy", "flops_by_layer")


@pytest.fixture(scope="module")
def finished(tiny_encoder: str, tmp_path_factory) -> Path:
    """Three strategies over two seeds; the last evaluates on its clients."""
    out = tmp_path_factory.mktemp("costs") / "grid"
    keys = [part for text in [f"encoder={tiny_encoder}", "partition=dirichlet", *SMALL] for part in ("-c", text)]
    vary = ["--vary", "strategy=ist,fjord", "--vary", "evaluate=server,clients", "--seeds", "2"]
    assert main(["compare", "demo", *keys, *vary, "--out", str(out)]) == 0
    return out


def summaries(grid: Path) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for cell in sorted((grid / "cells").iterdir()):
        config = read_config(cell)
        label = f"strategy={config.strategy} evaluate={config.evaluate}"
        found.setdefault(label, []).append(json.loads((cell / "summary.json").read_text()))
    return found


def report(folder: Path, out: Path) -> Page:
    assert main(["report", str(folder), "--out", str(out)]) == 0
    return parse(out.read_text(encoding="utf-8"))


def mean(found: list[dict], name: str) -> float:
    return sum(one[name] for one in found) / len(found)


def test_weights_and_crossovers_are_those_of_the_summaries(finished: Path) -> None:
    page = parse((finished / "report.html").read_text(encoding="utf-8"))
    rows = {row["configuration"]: row for row in page.rows("Weights and crossover")}
    texts = {row[0][0]: [shown for shown, _ in row] for row in page.tables["Weights and crossover"][1:]}
    own = summaries(finished)
    assert set(rows) == set(own)
    for name, row in rows.items():
        for heading, entry in (
            ("model", "weights_global"),
            ("held", "weights_held"),
            ("held, %", "weights_held_share"),
            ("most held", "weights_held_max"),
            ("active", "weights_active"),
            ("active, %", "weights_active_share"),
            ("shards", "bytes_of_shards"),
            ("features", "bytes_of_features"),
        ):
            assert float(row[heading]) == pytest.approx(mean(own[name], entry)), (name, entry)
        for kind in ("shards", "features"):
            rounds = {one[f"crossover_round_{kind}"] for one in own[name]}
            assert row[f"more than {kind}"] == ("" if rounds == {None} else str(float(*rounds)))
            assert ("never" in texts[name]) == any(
                None in {one[f"crossover_round_{of}"] for one in own[name]} for of in ("shards", "features")
            )
    assert float(rows["strategy=fjord evaluate=server"]["active"]) < float(
        rows["strategy=fjord evaluate=server"]["held"]
    )
    layers = {row["configuration"]: row for row in page.rows("FLOP of one client by layer")}
    for name, row in layers.items():
        total = sum(float(row[layer]) for layer in ("hidden.0", "hidden.1", "output"))
        assert total == pytest.approx(mean(own[name], "flops_per_client"))


def test_the_tables_have_the_columns(finished: Path) -> None:
    with (finished / "comparison.csv").open(newline="") as stream:
        cells = list(csv.DictReader(stream))
    with (finished / "summary.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    own = summaries(finished)
    for line in lines:
        found = own[f"strategy={line['strategy']} evaluate={line['evaluate']}"]
        for name in ("weights_held", "bytes_of_shards", "client_accuracy_p10"):
            assert float(line[name]) == pytest.approx(mean(found, name))
        seeds = [c for c in cells if (c["strategy"], c["evaluate"]) == (line["strategy"], line["evaluate"])]
        assert [float(c["client_accuracy_min"]) for c in seeds] == [one["client_accuracy_min"] for one in found]
        for name in ("crossover_round_shards", "crossover_round_features"):
            rounds = [one[name] for one in found]
            assert [c[name] for c in seeds] == ["" if number is None else str(number) for number in rounds]
            assert line[name] == ("" if None in rounds else str(float(np.mean(rounds))))


def test_single_clients_are_shown_run_by_run(finished: Path) -> None:
    page = parse((finished / "report.html").read_text(encoding="utf-8"))
    own = summaries(finished)
    for row in page.rows("Accuracy of single clients"):
        found = own[row["configuration"]]
        assert float(row["lowest, %"]) == pytest.approx(mean(found, "client_accuracy_min"))
        assert float(row["10th percentile, %"]) == pytest.approx(mean(found, "client_accuracy_p10"))
        assert float(row["clients"]) == 3
    boxes = page.figures()["clients"]["data"]
    assert len(boxes) == 8
    shown = [sorted(box["y"]) for box in boxes if box["name"] == "strategy=fjord evaluate=clients"]
    expected = [
        sorted(100 * value for value in one["client_accuracy"]["accuracy"])
        for one in own["strategy=fjord evaluate=clients"]
    ]
    np.testing.assert_allclose(shown, expected, rtol=1e-5)


def test_of_many_clients_the_box_has_percentiles(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(next((finished / "cells").iterdir()), tmp_path / "run"))
    summary = json.loads((run / "summary.json").read_text())
    percentiles = [value / 100 for value in range(101)]
    listed = {"round": 1, "of": "test images", "number": 5000, "percentiles": percentiles}
    (run / "summary.json").write_text(json.dumps(summary | {"client_accuracy": listed}))
    groups, _ = group_seeds(read_run(run).runs)
    figure = accuracy_figure(groups)
    Figure(figure)
    (box,) = figure["data"]
    assert [box[name] for name in ("lowerfence", "q1", "median", "q3", "upperfence")] == [[0], [25], [50], [75], [100]]


def test_the_split_is_drawn_from_the_counts(finished: Path, tmp_path: Path) -> None:
    page = parse((finished / "report.html").read_text(encoding="utf-8"))
    figures = page.figures()
    assert [name for name in figures if name.startswith("split")] == ["split-0"]
    server = next(cell for cell in (finished / "cells").iterdir() if "evaluate=server" in cell.name)
    clients = read_clients(server / "clients.json")
    assert figures["split-0"]["data"][0]["z"] == clients.labels.tolist()
    assert figures["split-0"]["data"][0]["y"] == ["0", "1", "2"]
    run = Path(shutil.copytree(server, tmp_path / "run"))
    columns = json.loads((run / "clients.json").read_text())
    (run / "clients.json").write_text(json.dumps(columns | {"labels": None}))
    page = report(run, tmp_path / "r.html")
    assert "split-0" not in page.figures()
    assert sum(tag == "img" for tag, _ in page.tags) == 1


def test_older_runs_are_read_without(finished: Path, tmp_path: Path) -> None:
    runs = tmp_path / "old"
    for cell in (finished / "cells").iterdir():
        run = Path(shutil.copytree(cell, runs / cell.name))
        (run / "clients.json").unlink()
        summary = json.loads((run / "summary.json").read_text())
        kept = {name: value for name, value in summary.items() if not name.startswith(NEW)}
        assert len(kept) < len(summary) - 10
        (run / "summary.json").write_text(json.dumps(kept))
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        lines = [{name: value for name, value in one.items() if not name.startswith(NEW)} for one in records]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = report(runs, tmp_path / "r.html")
    assert len(page.rows("Every run")) == 8
    assert {"Weights and crossover", "Accuracy of single clients"}.isdisjoint(page.tables)
    assert "clients" not in page.figures()
    assert sum(tag == "img" for tag, _ in page.tags) == 1


@pytest.mark.parametrize(
    ("entry", "value", "words"),
    [
        ("weights_held", "many", "weights_held is 'many'"),
        ("crossover_round_shards", -1, "crossover_round_shards is -1"),
        ("flops_by_layer", [1], "flops_by_layer is [1]; expected an object"),
        ("flops_by_layer", {"output": None}, "flops_by_layer of output is None"),
        ("client_accuracy", {"number": 3, "clients": [0], "accuracy": [0.5, 0.5]}, "no list of clients"),
        ("client_accuracy", {"number": 3, "percentiles": [0.5]}, "none of 101 percentiles"),
        ("client_accuracy", {"number": 1, "clients": [0], "accuracy": ["good"]}, "client_accuracy is 'good'"),
    ],
)
def test_entries_that_cannot_be_shown_are_named(entry: str, value, words: str, finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(next((finished / "cells").iterdir()), tmp_path / "run"))
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {entry: value}))
    evidence = read_run(run)
    assert evidence.runs == ()
    (problem,) = evidence.problems
    assert problem.fate == "damaged"
    assert words in problem.reason
