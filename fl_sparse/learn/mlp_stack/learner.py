"""The stacked MLP as a learner: which jobs of a cohort are one stack, and which of their weights are factored."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fl_sparse.array_ops import ArrayOps
from fl_sparse.learn.learner import ClientJob, same_kind
from fl_sparse.learn.mlp_stack.stack import factor_bytes, train_stack
from fl_sparse.learn.stack import Stack, StackInput, StackResult, in_pieces, part_size
from fl_sparse.learn.task import TrainingJob, mlp_of
from fl_sparse.model.mlp import MLPSpec
from fl_sparse.model.network import NetworkSpec
from fl_sparse.model.parameters import Model

ENOUGH_ALIKE = 8
"""From this many clients with the same start, factored weights cost less than copies (measured for rounds of parts of
768-250-250-10 on two cores: 0.9 times as fast with 4, 1.1 with 8, 1.4 with 16)."""


@dataclass(frozen=True)
class MLPLearner:
    """Trains MLPs on NumPy or torch, with the pass backward written out."""

    ops: ArrayOps = field(default_factory=ArrayOps)

    def network(self, job: TrainingJob) -> MLPSpec:
        """Return the MLP whose parameters a job trains."""
        return mlp_of(job)

    def stacks(self, jobs: Sequence[ClientJob]) -> list[Stack]:
        """Divide jobs into stacks.

        If `ENOUGH_ALIKE` or more jobs of a stretch that fits the memory begin with the very same arrays, they are a
        stack with factored weights.
        """
        stacks = [stack for alike in same_kind(jobs) for stack in self._divided(jobs, alike)]
        return sorted(stacks, key=lambda stack: stack.positions[0])

    def train(self, network: NetworkSpec, stack: StackInput) -> StackResult:
        """Train a stack of MLPs."""
        if not isinstance(network, MLPSpec):
            raise TypeError(f"an MLP is trained here, not a {type(network).__name__}")
        return train_stack(network, stack, self.ops)

    def _divided(self, jobs: Sequence[ClientJob], positions: Sequence[int]) -> Iterator[Stack]:
        """Divide jobs of equal shapes."""
        first, rows = jobs[positions[0]].job, _rows(jobs, positions)
        copies = self._fitting(first, (), rows)
        names = _factored_names(jobs[positions[0]], rows)
        if not names or not any(len(same) >= ENOUGH_ALIKE for same in _by_start(jobs, positions)):
            yield from (Stack(list(piece)) for piece in in_pieces(positions, copies))
            return
        # Divide stretch by stretch: results leave in the jobs' order, and few then have to wait in memory.
        for stretch in in_pieces(positions, self._fitting(first, names, rows)):
            starts = _by_start(jobs, stretch)
            yield from (Stack(same, names) for same in starts if len(same) >= ENOUGH_ALIKE)
            others = sorted(position for same in starts if len(same) < ENOUGH_ALIKE for position in same)
            yield from (Stack(list(piece)) for piece in in_pieces(others, copies))

    def _fitting(self, job: TrainingJob, names: Sequence[str], rows: int) -> int:
        """Return how many jobs like this one fit the memory at once, if the named weights are factored."""
        values = job.part.parameters
        own = sum(array.nbytes for name, array in values.items() if name not in names)
        return part_size(own, job.task.optimizer, self.ops, factor_bytes([values[name] for name in names], rows))


def _by_start(jobs: Sequence[ClientJob], positions: Sequence[int]) -> list[list[int]]:
    """Return the positions of the jobs, one list for each start."""
    starts: dict[int, list[int]] = defaultdict(list)
    for position in positions:
        starts[jobs[position].start].append(position)
    return list(starts.values())


def _factored_names(client: ClientJob, rows: int) -> tuple[str, ...]:
    """Return the weights that jobs like this one train by their factors, if their starts are the same."""
    job = client.job
    if job.task.optimizer.name != "sgd" or job.part.prefixes or job.state.moments or not client.takes_factors:
        return ()
    return factored_names(mlp_of(job).model, rows)


def factored_names(model: Model, rows: int) -> tuple[str, ...]:
    """Return the trained weight matrices that are larger than their factors of so many rows."""
    return tuple(
        name
        for name, spec in model.items()
        if spec.trained and len(spec.shape) == 2 and rows * sum(spec.shape) < math.prod(spec.shape)
    )


def _rows(jobs: Sequence[ClientJob], positions: Sequence[int]) -> int:
    """Return the examples of all steps of the largest client, padding included."""
    task = jobs[positions[0]].job.task
    return max(min(task.batch_size, len(jobs[position].rows)) for position in positions) * task.local_steps
