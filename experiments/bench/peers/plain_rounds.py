"""The job as a plain PyTorch loop: one client after another, autograd and torch.optim.SGD, no framework."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn

from experiments.bench.peers.job import Report, arguments, data, differences, tell

CAVEATS = ("no messages, no checks of replies and no record of a round: the arithmetic and nothing else",)


def main() -> None:
    """Run the job and report."""
    job, rounds, warm_up = arguments()
    features, labels = (torch.from_numpy(array) for array in data(job))
    started, ends = time.perf_counter(), []
    torch.manual_seed(job.seed)
    rng = np.random.default_rng(job.seed)
    model = nn.Sequential(nn.Linear(job.features, job.hidden), nn.ReLU(), nn.Linear(job.hidden, job.classes))
    whole = {name: values.detach().clone() for name, values in model.named_parameters()}
    for _ in range(1 + warm_up + rounds):
        total = {name: torch.zeros_like(values) for name, values in whole.items()}
        for client in rng.choice(job.clients, size=job.per_round, replace=False).tolist():
            with torch.no_grad():
                for name, values in model.named_parameters():
                    values.copy_(whole[name])
            optimizer = torch.optim.SGD(model.parameters(), lr=job.learning_rate)
            order = torch.randperm(job.examples) + client * job.examples
            for batch in torch.split(order, job.batch_size):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(features[batch]), labels[batch])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            with torch.no_grad():
                for name, values in model.named_parameters():
                    total[name].add_(values, alpha=1 / job.per_round)
        whole = total
        ends.append(time.perf_counter())
    first, lasted = differences(started, ends, warm_up)
    tell(Report("plain PyTorch loop", str(torch.__version__), first, lasted, CAVEATS))


if __name__ == "__main__":
    main()
