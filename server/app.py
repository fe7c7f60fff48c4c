"""The ServerApp: ``flwr run .`` starts here."""

from __future__ import annotations

import logging
import sys

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fl_sparse.errors import InputError
from fl_sparse.federation import HeldOut, held_out_tables
from server.launch import split_run_config
from server.progress import PlainWatcher
from server.rounds import run_rounds
from strategies.registry import check_distributed

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation that the run configuration describes."""
    logging.getLogger("fl_sparse").setLevel(logging.INFO)
    watcher = PlainWatcher(sys.stdout)
    try:
        config, launch = split_run_config(context.run_config, source="run config")
        check_distributed(config)
        path = launch.check(config, config.strategy)

        def tables(num_clients: int) -> HeldOut:
            return held_out_tables(config, num_clients, watcher.note)

        run_rounds(grid, config, lambda: launch.open(config, path), tables, watcher)
    except InputError as error:
        # Print one line for the user. Raise, too: only then does Flower mark the run as failed and send the log.
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise error.with_traceback(None) from None
    watcher.note(f"run folder: {path.absolute()}")
