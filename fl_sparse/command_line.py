"""What commands share: a parser that says a mistake in one line, and the folder that results go to."""

import argparse
import re
import textwrap
from pathlib import Path
from typing import NoReturn

from fl_sparse.errors import InputError


class CommandParser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line and exits with code 2; its commands' parsers do too."""

    def error(self, message: str) -> NoReturn:
        """Say it on standard error and exit."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wraps descriptions and epilogs to the terminal's width, as argparse wraps options, and keeps their structure.

    Lines that follow each other without indentation are one paragraph. An indented line stands for itself: what does
    not fit goes on below its second column, or, of a command, after a backslash, so that it can be copied.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs: list[str] = []
        for line in text.strip("\n").split("\n"):
            if paragraphs and re.match(r"\S", line) and re.match(r"\S", paragraphs[-1]):
                paragraphs[-1] += f" {line}"
            else:
                paragraphs.append(line)
        return "\n".join(wrapped_line(indent + line, width) for line in paragraphs)


def wrapped_line(line: str, width: int) -> str:
    """Return a line of a help text, broken where it is longer than ``width`` columns."""
    if len(line) <= width:
        return line
    found = re.match(r"( *)(\S.*?\s{2,})?", line)
    assert found is not None
    is_command = line[len(found[1]) :].startswith("python ")
    # An option and its value stay together.
    kept = re.sub(r"(?<= )(--?\w[\w-]*) (?=[^-\s])", "\\1\0", line) if is_command else line
    lines = textwrap.wrap(
        kept,
        width - 2 if is_command else width,
        subsequent_indent=" " * (len(found[1]) + 4 if is_command else len(found[0])),
        break_on_hyphens=False,
        break_long_words=False,
    )
    return (" \\\n" if is_command else "\n").join(lines).replace("\0", " ")


def make_folder(path: Path, option: str) -> None:
    """Make the folder that an option names, before any work is done.

    Raises
    ------
    InputError
        If it cannot be made; the message names the option and the folder.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{option} {path}: not a folder, and none can be made ({error.strerror})") from None
