"""The report in a real browser, offline: plots drawn, tables sorted, nothing loaded, no error. Needs Chromium."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from experiments.__main__ import main
from tests.experiments.report_html import Page, parse

pytestmark = pytest.mark.long

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",
    "--virtual-time-budget=15000",
    "--window-size=1200,2000",
    "--dump-dom",
)
# Runs after the page's own scripts, and writes what it found into the page for --dump-dom to show.
PROBE = """
<script>
  const found = { violations: window.violations, errors: window.errors, sorted: {} };
  found.loaded = performance.getEntriesByType("resource").map(entry => entry.name);
  const table = document.querySelector("#runs table");
  const values = column => [...table.tBodies[0].rows].map(row => row.cells[column].dataset.value);
  for (const column of [1, 2, 7]) {
    const button = table.tHead.rows[0].cells[column].querySelector("button");
    button.click();
    const down = values(column);
    button.click();
    found.sorted[column] = { down, up: values(column) };
  }
  const shown = () => document.querySelectorAll(".plot[data-figure=rounds] .scatterlayer .trace").length;
  found.traces = [shown()];
  document.querySelector(".key[data-group='0']").click();
  found.traces.push(shown());
  document.querySelector("[data-choice=bands]").value = "none";
  document.querySelector("[data-choice=bands]").dispatchEvent(new Event("change"));
  found.traces.push(shown());
  found.wide = document.documentElement.scrollWidth > innerWidth;
  const result = document.createElement("pre");
  result.id = "found";
  result.textContent = JSON.stringify(found);
  document.body.append(result);
</script>
"""
WATCH = """
<script>
  window.violations = [];
  window.errors = [];
  addEventListener("securitypolicyviolation", event => violations.push(event.blockedURI));
  addEventListener("error", event => errors.push(String(event.message)));
</script>
"""


def browse(html: Path, profile: Path, *options: str) -> tuple[str, list[str]]:
    """Open a file; return the page as it stands after its scripts, and the console's lines."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    assert browser, f"this test opens the report in Chromium: none of {', '.join(BROWSERS)} is installed"
    command = [browser, *OPTIONS, *options, f"--user-data-dir={profile}", html.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@pytest.fixture(scope="module")
def comparison(tiny_encoder: str, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report") / 'a <b>bold<b> & "quoted" name'
    small = ["hidden-widths=24,20", "num-server-rounds=4", "local-steps=2", "num-clients=3", "dropout-probability=0.3"]
    small += ["device-profiles=phone,raspberry-pi-4"]
    keys = [part for text in [f"encoder={tiny_encoder}", *small] for part in ("-c", text)]
    assert main(["compare", "demo", *keys, "--vary", "strategy=ist,fedavg", "--seeds", "3", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def opened(comparison: Path, tmp_path_factory) -> tuple[Page, list[str], dict[str, Any]]:
    """The comparison's report with a probe in it, opened."""
    folder = tmp_path_factory.mktemp("browser")
    html = (comparison / "report.html").read_text(encoding="utf-8")
    html = html.replace("<main>", f"{WATCH}<main>", 1)
    probed = folder / "probed.html"
    probed.write_text(PROBE.join(html.rsplit("</body>", 1)) + "</body>", encoding="utf-8")
    dom, console = browse(probed, folder / "profile")
    encoded = dom.rpartition('<pre id="found">')[2].partition("</pre>")[0]
    page = parse(dom)
    return page, console, json.loads(encoded.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))


def test_plots_are_drawn(opened) -> None:
    page, _, found = opened
    places = [attributes for tag, attributes in page.tags if tag == "div" and "data-figure" in attributes]
    along = {"rounds", "bytes", "flops", "simulated", "seconds", "clients", "split-0"}
    assert {place["data-figure"] for place in places} == {*along, "pareto", "missing"}
    drawn = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("class") == "main-svg"]
    assert len(drawn) >= len(places)
    # Two lines with a band each; then one of the two is hidden; then bands are.
    assert found["traces"] == [4, 2, 1]


def test_no_error_and_nothing_loaded(opened) -> None:
    _, console, found = opened
    assert console == []
    assert found["errors"] == []
    assert found["violations"] == []
    assert found["loaded"] == []
    assert not found["wide"]


def test_tables_sort_by_exact_values(opened) -> None:
    for column in opened[2]["sorted"].values():
        down = [float(value) for value in column["down"]]
        assert down == sorted(down, reverse=True)
        assert [float(value) for value in column["up"]] == sorted(down)


def test_a_report_without_results_has_no_error(comparison: Path, tmp_path: Path) -> None:
    cell = next((comparison / "cells").iterdir())
    broken = Path(shutil.copytree(cell, tmp_path / "broken"))
    (broken / "summary.json").write_text("{")
    assert main(["report", str(broken), "--out", str(tmp_path / "broken.html")]) == 0
    dom, console = browse(tmp_path / "broken.html", tmp_path / "profile")
    assert "summary.json: no JSON" in dom
    assert console == []


def test_it_fits_a_phone(comparison: Path, tmp_path: Path) -> None:
    """In a frame, since a headless window has a least width."""
    html = (comparison / "report.html").read_text(encoding="utf-8")
    measure = "<script>parent.postMessage([document.documentElement.scrollWidth, innerWidth], '*')</script>"
    (tmp_path / "report.html").write_text(measure.join(html.rsplit("</body>", 1)), encoding="utf-8")
    (tmp_path / "frame.html").write_text(
        "<!DOCTYPE html><iframe src='report.html' width='375' height='800' style='border:0'></iframe>"
        "<script>addEventListener('message', event => { document.title = event.data.join(' of ') })</script>"
    )
    dom, console = browse(tmp_path / "frame.html", tmp_path / "profile")
    (title,) = re.findall(r"<title>(\d+) of 375</title>", dom)
    assert int(title) <= 375
    assert console == []
