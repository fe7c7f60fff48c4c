"""``python -m fl_sparse COMMAND``: the library's tools."""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence

from fl_sparse import __version__, commands
from fl_sparse.command_line import CommandParser, HelpFormatter
from fl_sparse.errors import InputError


def _parser() -> argparse.ArgumentParser:
    about = "Tools for sparse images and their encoder."
    parser = CommandParser(prog="python -m fl_sparse", description=about, formatter_class=HelpFormatter)
    parser.add_argument("--version", action="version", version=f"fl-sparse {__version__}")
    choices = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for found in sorted(pkgutil.iter_modules(commands.__path__), key=lambda module: module.name):
        module = importlib.import_module(f"fl_sparse.commands.{found.name}")
        command = choices.add_parser(
            found.name,
            help=module.SUMMARY,
            description=module.__doc__,
            formatter_class=HelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code: 0, or 2 after one line on standard error."""
    args = _parser().parse_args(arguments)
    try:
        return int(args.run(args))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
