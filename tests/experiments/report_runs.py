"""Comparisons to report on, and the report's page."""

from __future__ import annotations

import json
from pathlib import Path

from experiments.__main__ import main
from tests.experiments.report_html import Page, parse


def report(*arguments: str | Path) -> Page:
    *folders, out = map(str, arguments)
    assert main(["report", *folders, "--out", out]) == 0
    return parse(Path(out).read_text(encoding="utf-8"))


def cells(grid: Path) -> list[Path]:
    return sorted((grid / "cells").iterdir())


def summary_of(cell: Path) -> dict:
    return json.loads((cell / "summary.json").read_text())
