"""What commands share: a parser that says a mistake in one line, and the folder that results go to."""

import argparse
from pathlib import Path
from typing import NoReturn

from fl_sparse.errors import InputError


class CommandParser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line and exits with code 2; its commands' parsers do too."""

    def error(self, message: str) -> NoReturn:
        """Say it on standard error and exit."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


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
