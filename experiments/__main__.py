"""``python -m experiments COMMAND``: run a federation, compare several, report on them, draw them, or time it all."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from experiments import closed_form, run
from experiments.bench import command as bench
from experiments.compare import command as compare
from experiments.figure import command as figure
from experiments.report import command as report
from fl_sparse.command_line import CommandParser, HelpFormatter
from fl_sparse.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code: 0, or 2 after one line on standard error."""
    parser = CommandParser(prog="python -m experiments", description=__doc__, formatter_class=HelpFormatter)
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for name, module in (
        ("run", run),
        ("compare", compare),
        ("report", report),
        ("figure", figure),
        ("closed-form", closed_form),
        ("bench", bench),
    ):
        command = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=module.__doc__,
            epilog=module.epilog(),
            formatter_class=HelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    args = parser.parse_args(arguments)
    try:
        return int(args.run(args))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
