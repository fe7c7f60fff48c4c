"""What users read: help texts in the terminal's width."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_sparse.command_line import CommandParser, HelpFormatter, wrapped_line


@given(st.lists(st.text("ab-=", min_size=1, max_size=9), min_size=1, max_size=30), st.integers(20, 60))
def test_a_wrapped_line_keeps_its_words(words: list[str], width: int) -> None:
    broken = wrapped_line("  " + " ".join(words), width)
    assert broken.split() == words
    assert max(map(len, broken.split("\n"))) <= width
    assert all(line.startswith("  ") for line in broken.split("\n"))


def test_a_wrapped_command_is_still_one() -> None:
    command = "  python -m tool run --first 1 --second two -c three=3 -c four=4 --flag --last end"
    broken = wrapped_line(command, 40)
    assert max(map(len, broken.split("\n"))) <= 40
    assert shlex.split(broken.replace("\\\n", "")) == command.split()
    assert "--second two" in broken


def test_second_columns_stay_columns() -> None:
    lines = wrapped_line("  key = 1      what it means, in many words", 30).split("\n")
    assert lines == ["  key = 1      what it means,", "               in many words"]


def test_paragraphs_are_filled_and_lists_stay(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "42")
    about = "A first line that is a\nparagraph with\nthis one.\n\nlist:\n  one\n  two\nend"
    CommandParser(prog="x", description=about, formatter_class=HelpFormatter, add_help=False).print_help()
    shown = capsys.readouterr().out.split("\n\n", 1)[1]
    assert shown == "A first line that is a paragraph with\nthis one.\n\nlist:\n  one\n  two\nend\n"
