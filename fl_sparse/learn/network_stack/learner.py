"""A kind of network as a learner: which jobs of a cohort are trained in one stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fl_sparse.array_ops import TorchOps
from fl_sparse.learn.learner import ClientJob, same_kind
from fl_sparse.learn.network_stack.network import StackedNetwork
from fl_sparse.learn.network_stack.train import fitting, train_network
from fl_sparse.learn.stack import Stack, StackInput, StackResult, in_pieces
from fl_sparse.learn.task import TrainingJob
from fl_sparse.model.network import NetworkSpec


@dataclass(frozen=True)
class NetworkLearner:
    """Trains networks of one kind under autograd.

    Parameters
    ----------
    kind
        Gives the networks' pass forward.
    ops
        The device.
    """

    kind: StackedNetwork
    ops: TorchOps = field(default_factory=TorchOps)

    def network(self, job: TrainingJob) -> NetworkSpec:
        """Return the network that a job trains, in the sizes of the job's part."""
        return self.kind.spec(job)

    def stacks(self, jobs: Sequence[ClientJob]) -> list[Stack]:
        """Divide jobs into stacks of equal shapes that fit the memory set aside; no weights are factored."""
        stacks = [
            Stack(list(piece))
            for alike in same_kind(jobs)
            for piece in in_pieces(alike, self._fitting(jobs[alike[0]].job))
        ]
        return sorted(stacks, key=lambda stack: stack.positions[0])

    def train(self, network: NetworkSpec, stack: StackInput) -> StackResult:
        """Train a stack; the same call gives the same bits, another stacking the same values up to rounding."""
        return train_network(self.kind, network, stack, self.ops)

    def _fitting(self, job: TrainingJob) -> int:
        """Return how many jobs like this one fit the memory at once."""
        part_bytes = sum(values.nbytes for values in job.part.parameters.values())
        return fitting(part_bytes, job.task.optimizer, self.ops)
