"""Figures of tables: what is drawn is what the table says, and a missing column is one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from experiments.__main__ import main
from experiments.figure.points import Choice, points, read_rows
from fl_sparse.errors import InputError

SUMMARY = """recipe,mask-ratio,mask-schedule,seeds,accuracy_mean,accuracy_interval,bytes_down,bytes_up
questions/x/ist-4,0.0,fixed,3,0.61,0.02,1000000.0,2000000.0
questions/x/ist-4,0.5,fixed,3,0.55,0.01,1000000.0,2000000.0
questions/x/ist-4,0.5,resampled,3,0.56,0.01,1000000.0,2000000.0
questions/x/fedavg,0.0,fixed,3,0.63,,10000000.0,20000000.0
questions/x/fedavg,0.5,fixed,3,0.58,0.015,10000000.0,20000000.0
questions/x/fedavg,0.5,resampled,0,,,,
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "summary.csv"
    path.write_text(SUMMARY)
    return path


def texts(svg: Path) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg.read_text(encoding="utf-8"))


def test_points_are_the_rows_in_per_cent(table: Path) -> None:
    found = points(read_rows([table]), Choice("mask-ratio", "accuracy", ("recipe",), ("mask-schedule",)))
    assert [(p.x, p.y, p.half, p.series, p.panel) for p in found] == [
        (0.0, pytest.approx(61), pytest.approx(2), "ist-4", "mask-schedule fixed"),
        (0.5, pytest.approx(55), pytest.approx(1), "ist-4", "mask-schedule fixed"),
        (0.5, pytest.approx(56), pytest.approx(1), "ist-4", "mask-schedule resampled"),
        (0.0, pytest.approx(63), None, "fedavg", "mask-schedule fixed"),
        (0.5, pytest.approx(58), pytest.approx(1.5), "fedavg", "mask-schedule fixed"),
    ]


def test_rows_are_chosen_by_value(table: Path) -> None:
    where = (("mask-ratio", ("0.50",)), ("mask-schedule", ("fixed", "other")))
    found = points(read_rows([table]), Choice("megabytes_sent", "accuracy", ("recipe",), (), where))
    assert [(p.x, round(p.y)) for p in found] == [(3.0, 55), (30.0, 58)]


def test_lines_over_numbers(table: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "lines.svg"
    arguments = ["figure", str(table), "--x", "mask-ratio", "--series", "recipe", "--panels", "mask-schedule"]
    assert main([*arguments, "--out", str(out)]) == 0
    assert {"ist-4", "fedavg", "mask-schedule fixed", "mask-schedule resampled", "test accuracy, %"} <= set(texts(out))
    assert f"figure: {out}" in capsys.readouterr().out
    first = out.read_bytes()
    assert main([*arguments, "--out", str(out)]) == 0
    assert out.read_bytes() == first


def test_dots_beside_names(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "dots.svg"
    where = ["--where", "mask-schedule=fixed"]
    assert main(["figure", str(table), "--x", "recipe", "--series", "mask-ratio", *where, "--out", str(out)]) == 0
    assert {"ist-4", "fedavg", "mask-ratio 0", "mask-ratio 0.5"} <= set(texts(out))


def test_the_front(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "front.png"
    assert main(["figure", str(table), "--pareto", "--series", "recipe,mask-ratio", "--out", str(out)]) == 0
    assert out.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--x", "run"], "column 'run' is not in every table; did you mean 'recipe'?"),
        (["--x", "mask-ratoi"], "column 'mask-ratoi' is not in every table; did you mean 'mask-ratio'?"),
        (["--x", "mask-ratio", "--measure", "loss"], "column 'loss_mean' is not in every table"),
        (["--x", "mask-ratio", "--where", "recipe=none"], "no row with accuracy_mean and recipe=none"),
        (["--x", "mask-ratio", "--where", "recipe"], "expected KEY=V1,V2,…"),
        (["--x", "recipe", "--log"], "column 'recipe' holds names"),
        (["--x", "mask-ratio", "--pareto"], "expected a column, or --pareto alone"),
        ([], "expected a column, or --pareto alone"),
        (["--x", "seeds", "--measure", "accuracy", "--out", "a.pdf"], "expected a file with suffix .svg or .png"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line_and_exit_code_2(arguments: list[str], words: str, table: Path, tmp_path, capsys) -> None:
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "x.svg")]
    assert main(["figure", str(table), *arguments, *out]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "x.svg").exists()


def test_what_is_no_table(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("a,b\n")
    with pytest.raises(InputError, match="expected a table"):
        read_rows([empty])
    with pytest.raises(InputError, match="No such file"):
        read_rows([tmp_path / "none.csv"])
    ragged = tmp_path / "ragged.csv"
    ragged.write_text("a,b\n1\n")
    with pytest.raises(InputError, match="all rows of one length"):
        read_rows([ragged])
