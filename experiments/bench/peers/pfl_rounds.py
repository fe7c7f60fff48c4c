"""The job in pfl: FederatedAveraging on the SimulatedBackend, as its tutorials set it up."""

from __future__ import annotations

import importlib.metadata
import time
from typing import Any

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import nn

from experiments.bench.peers.job import Report, arguments, data, differences, tell

CAVEATS = (
    "users have equal weights, as pfl's default has it: the same average, since all hold as many examples",
    "users take turns, by the sampler that pfl calls minimize_reuse, where the others draw them at random",
    "batches follow the stored order: pfl does not shuffle a user's examples",
    "arrays are tensors before the clock starts; no evaluation, no messages",
)


class Classifier(nn.Module):
    """The MLP with the two methods that pfl asks for."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes))

    def loss(self, x: torch.Tensor, y: torch.Tensor, eval: bool = False) -> torch.Tensor:
        """Return the mean cross-entropy of a batch."""
        return nn.functional.cross_entropy(self.layers(x), y)

    def metrics(self, x: torch.Tensor, y: torch.Tensor, eval: bool = False) -> dict[str, Any]:
        """Return what an evaluation would report; nothing asks for it here."""
        return {"loss": Weighted(self.loss(x, y).item() * len(y), len(y))}


class Clock(TrainingProcessCallback):  # type: ignore[misc]
    """Notes the time at the end of each round."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: Any, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        """Note the time; never stop."""
        self.ends.append(time.perf_counter())
        return False, Metrics()


def main() -> None:
    """Run the job and report."""
    job, rounds, warm_up = arguments()
    features, labels = (torch.from_numpy(array) for array in data(job))
    started = time.perf_counter()
    np.random.seed(job.seed)  # noqa: NPY002 - pfl draws from NumPy's global state
    torch.manual_seed(job.seed)
    users = [slice(client * job.examples, (client + 1) * job.examples) for client in range(job.clients)]
    held = [Dataset([features[rows], labels[rows]]) for rows in users]
    sampler = get_user_sampler("minimize_reuse", list(range(job.clients)))
    federated = FederatedDataset(lambda user: held[user], sampler)
    module = Classifier(job.features, job.hidden, job.classes)
    model = PyTorchModel(
        model=module,
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.SGD(module.parameters(), lr=1.0),
    )
    clock = Clock()
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=1 + warm_up + rounds,
            evaluation_frequency=1 + warm_up + rounds,
            train_cohort_size=job.per_round,
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(training_data=federated, val_data=federated),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_num_epochs=1, local_learning_rate=job.learning_rate, local_batch_size=job.batch_size
        ),
        callbacks=[clock],
    )
    first, lasted = differences(started, clock.ends, warm_up)
    version = f"{importlib.metadata.version('pfl')}, torch {torch.__version__}"
    tell(Report("pfl", version, first, lasted, CAVEATS))


if __name__ == "__main__":
    main()
