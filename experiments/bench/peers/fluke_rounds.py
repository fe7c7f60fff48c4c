"""The job in fluke: FedAVG with its own clients, server and data loader."""

from __future__ import annotations

import importlib.metadata
import time
from typing import Any

import torch
from fluke import DDict, FlukeENV
from fluke.algorithms.fedavg import FedAVG
from fluke.data import FastDataLoader
from fluke.utils import FederationObserver
from torch import nn

from experiments.bench.peers.job import Report, arguments, data, differences, tell

CAVEATS = (
    "client objects keep their model and optimizer between rounds, as fluke's default has it",
    "fluke draws progress bars while it runs, and models pass through its cache: both are in the time",
    "no evaluation; arrays are tensors before the clock starts",
)


class Splitter:
    """Hands each client its rows, where fluke's own splitter would draw them from one of its data sets."""

    def __init__(self, loaders: list[Any]) -> None:
        self._loaders = loaders

    def assign(self, clients: int, batch_size: int) -> Any:
        """Return (training loaders, test loaders) of the clients, and the server's test loader."""
        return (self._loaders, [None] * clients), None


class Clock(FederationObserver):  # type: ignore[misc]
    """Notes the time at the end of each round."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def end_round(self, round: int) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


def main() -> None:
    """Run the job and report."""
    job, rounds, warm_up = arguments()
    features, labels = (torch.from_numpy(array) for array in data(job))
    started = time.perf_counter()
    environment = FlukeENV()
    environment.set_seed(job.seed)
    environment.set_device("cpu")
    environment.set_eval_cfg(pre_fit=False, post_fit=False, locals=False, server=False)
    loaders = [
        FastDataLoader(
            features[start : start + job.examples],
            labels[start : start + job.examples],
            num_labels=job.classes,
            batch_size=job.batch_size,
            shuffle=True,
        )
        for start in range(0, len(features), job.examples)
    ]
    model = nn.Sequential(nn.Linear(job.features, job.hidden), nn.ReLU(), nn.Linear(job.hidden, job.classes))
    settings = DDict(
        client=DDict(
            batch_size=job.batch_size,
            local_epochs=1,
            loss=nn.CrossEntropyLoss,
            optimizer=DDict(name=torch.optim.SGD, lr=job.learning_rate),
            scheduler=DDict(gamma=1, step_size=1),
        ),
        server=DDict(weighted=True),
        model=model,
    )
    algorithm = FedAVG(job.clients, Splitter(loaders), settings)
    clock = Clock()
    algorithm.attach(clock)
    algorithm.run(1 + warm_up + rounds, job.per_round / job.clients, finalize=False)
    first, lasted = differences(started, clock.ends, warm_up)
    version = f"{importlib.metadata.version('fluke-fl')}, torch {torch.__version__}"
    tell(Report("fluke", version, first, lasted, CAVEATS))


if __name__ == "__main__":
    main()
