"""The job in Flower on Ray: a ClientApp around a PyTorch loop and Flower's own FedAvg, nothing of this project's."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import time
from collections.abc import Iterable
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from experiments.bench.peers.flower_client import client_app, network
from experiments.bench.peers.job import Report, arguments, differences, tell

CAVEATS = (
    "one actor a core, each with one thread; 'first' includes starting Ray and importing PyTorch in its actors",
    "Flower polls for replies: part of a round is waiting, not work",
    "a client's features stay in its actor's memory between rounds, which favours Flower",
)


class TimedFedAvg(FedAvg):
    """Flower's FedAvg; notes the time whenever a round is aggregated."""

    def __init__(self, ends: list[float], **settings: Any) -> None:
        super().__init__(**settings)
        self.ends = ends

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate, then note the time."""
        answered = list(replies)
        if any(reply.has_error() for reply in answered):
            raise RuntimeError(f"round {server_round}: a client failed")
        result = super().aggregate_train(server_round, answered)
        self.ends.append(time.perf_counter())
        return result


def main() -> None:
    """Run the job and report."""
    job, rounds, warm_up = arguments()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    ends: list[float] = []
    server = ServerApp()

    @server.main()
    def serve(grid: Grid, context: Context) -> None:
        strategy = TimedFedAvg(
            ends,
            fraction_train=job.per_round / job.clients,
            fraction_evaluate=0.0,
            min_train_nodes=job.per_round,
            min_available_nodes=job.clients,
        )
        initial = ArrayRecord(network(job).state_dict())
        strategy.start(grid, initial, num_rounds=1 + warm_up + rounds, train_config=ConfigRecord())

    started = time.perf_counter()
    run_simulation(
        server_app=server,
        client_app=client_app(job),
        num_supernodes=job.clients,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": os.cpu_count() or 1, "log_to_driver": False},
        },
    )
    first, lasted = differences(started, ends, warm_up)
    versions = (
        f"{importlib.metadata.version('flwr')}, ray {importlib.metadata.version('ray')}, torch {torch.__version__}"
    )
    tell(Report("Flower on Ray", versions, first, lasted, CAVEATS))


if __name__ == "__main__":
    main()
