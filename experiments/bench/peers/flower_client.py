"""What Flower's actors run for `flower_rounds`: importable, so that Ray finds it in every actor."""

from __future__ import annotations

import functools

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn

from experiments.bench.peers.job import Job, data


def network(job: Job) -> nn.Module:
    """Return the MLP."""
    return nn.Sequential(nn.Linear(job.features, job.hidden), nn.ReLU(), nn.Linear(job.hidden, job.classes))


@functools.lru_cache(maxsize=1)
def held(job: Job) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all clients' tensors; made once in each actor."""
    torch.set_num_threads(1)
    features, labels = data(job)
    return torch.from_numpy(features), torch.from_numpy(labels)


def client_app(job: Job) -> ClientApp:
    """Return a ClientApp that trains one epoch."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        features, labels = held(job)
        model = network(job)
        model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
        optimizer = torch.optim.SGD(model.parameters(), lr=job.learning_rate)
        order = torch.randperm(job.examples) + int(context.node_config["partition-id"]) * job.examples
        for batch in torch.split(order, job.batch_size):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(features[batch]), labels[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        metrics = MetricRecord({"num-examples": job.examples, "loss": float(loss)})
        content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
        return Message(content, reply_to=message)

    return app
