"""Training: takes the job of one client, or of each client of a cohort, and returns the trained parts.

A device trains one job; the in-process grid trains a round's jobs. Jobs of equal shapes are stacked and trained at
once, as many as fit the memory set aside. A `Learner` trains a stack. There are two: the stacked MLP
(`fl_sparse.learn.mlp_stack`), and a network under autograd (`fl_sparse.learn.network_stack`).

Symbols: A jobs in a stack, τ steps, b rows of a batch, V views, n rows of a table, n_k rows of client k, F features.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fl_sparse.features.statistics import Standardizer
from fl_sparse.learn.absent_classes import AbsentClasses
from fl_sparse.learn.batches import batch_rows
from fl_sparse.learn.descent import OptimizerState
from fl_sparse.learn.ordered_dropout import OrderedDropout
from fl_sparse.learn.stack import Stack, StackInput, StackResult
from fl_sparse.learn.stacked_data import Batches
from fl_sparse.learn.task import Trained, TrainingJob
from fl_sparse.model.network import NetworkSpec
from fl_sparse.rng import Purpose, generator


@dataclass(frozen=True)
class FeatureRows:
    """A table of features; each client holds some of its rows.

    ``features`` is float32 (V·n, F), view v of row i at v·n + i; ``labels`` int64 (n,). Epoch e uses view e mod V.
    ``standardizer`` is applied to rows as they are read; None if the features are standardised already.
    """

    features: Any = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    num_views: int = 1
    standardizer: Standardizer | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ClientJob:
    """A job, and the client that it is for.

    Parameters
    ----------
    job
        Task, part and state.
    partition_id
        The client's id; its batches are drawn from it.
    rows
        int64 (n_k,), the client's rows of the table.
    start
        Jobs with the same number begin with the same arrays.
    takes_factors
        Whether trained weights may come back as factors (`fl_sparse.part.factored`).
    """

    job: TrainingJob
    partition_id: int
    rows: NDArray[np.int64] = field(repr=False)
    start: int = 0
    takes_factors: bool = True


class Learner(Protocol):
    """Divides jobs into stacks, and trains stacks."""

    def network(self, job: TrainingJob) -> NetworkSpec:
        """Return the network that a job trains, in the sizes of the job's part."""

    def stacks(self, jobs: Sequence[ClientJob]) -> list[Stack]:
        """Divide jobs into stacks of equal shapes that fit the memory set aside, sorted by their first position."""

    def train(self, network: NetworkSpec, stack: StackInput) -> StackResult:
        """Train a stack; the same call gives the same bits, another stacking the same values up to rounding."""


def same_kind(jobs: Sequence[ClientJob]) -> list[list[int]]:
    """Return the positions of jobs that can be one stack: the same task and shapes."""
    alike: dict[Any, list[int]] = defaultdict(list)
    # Read shapes once for each start: jobs with the same start share their parameters.
    shapes: dict[int, Any] = {}
    for position, client in enumerate(jobs):
        job = client.job
        if client.start not in shapes:
            held = job.part.parameters
            shapes[client.start] = tuple((name, values.shape) for name, values in sorted(held.items()))
        kind = shapes[client.start], job.task, bool(job.part.prefixes), bool(job.state.moments)
        alike[kind].append(position)
    return list(alike.values())


def train_in_turn(learner: Learner, jobs: Sequence[ClientJob], table: FeatureRows) -> Iterator[Trained]:
    """Yield each job's result, in the jobs' order, stack by stack as it is trained.

    If the caller drops each result, memory holds one stack for each kind of shapes, however many jobs there are.
    Stacked and one-by-one training agree up to the rounding of the matrix products (a tolerance that the tests state);
    the same jobs give the same bits.
    """
    done: dict[int, Trained] = {}
    following = 0
    for stack in learner.stacks(jobs):
        chosen = [jobs[position] for position in stack.positions]
        done.update(zip(stack.positions, _train(learner, chosen, stack.factored, table), strict=True))
        while following in done:
            yield done.pop(following)
            following += 1


def _train(learner: Learner, jobs: Sequence[ClientJob], factored: Sequence[str], table: FeatureRows) -> list[Trained]:
    first = jobs[0].job
    network = learner.network(first)
    own = [job.job.part.parameters for job in jobs]
    shared = {name: own[0][name] for name in factored}
    says_classes = first.task.absent_classes != "trained"
    classes = [np.unique(table.labels[job.rows]) for job in jobs] if says_classes else None
    scales = zip(*(job.job.part.scales for job in jobs), strict=True)
    labels = np.tile(table.labels, table.num_views) if table.num_views > 1 else table.labels
    result = learner.train(
        network,
        StackInput(
            parameters={name: [values[name] for values in own] for name in own[0] if name not in shared},
            scales=tuple(np.array(layer, dtype=np.float32) for layer in scales),
            data=Batches(table.features, labels, _padded([_batches(job, table) for job in jobs]), table.standardizer),
            optimizer=first.task.optimizer,
            ordered=_ordered(jobs) if first.part.prefixes else None,
            absent=None if classes is None else _absent(classes, network.num_classes, first.task.absent_classes),
            state=_state(jobs) if first.state.moments else None,
            keep_state=bool(first.state.moments),
            shared=shared,
        ),
    )
    moments = {} if result.optimizer_state is None else result.optimizer_state.moments
    return [
        Trained(
            parameters={name: result.parameters[name][position] for name in own[0]},
            num_examples=len(job.rows),
            loss=float(result.loss[position]),
            moments={
                moment: {name: values[position] for name, values in held.items()} for moment, held in moments.items()
            },
            classes=None if classes is None else tuple(classes[position].tolist()),
        )
        for position, job in enumerate(jobs)
    ]


def _absent(classes: Sequence[NDArray[np.int64]], num_classes: int, rule: str) -> AbsentClasses:
    """Return which classes each client holds among all its examples, not only in the round's batches."""
    return AbsentClasses(np.stack([np.isin(np.arange(num_classes), own) for own in classes]), rule)


def _state(jobs: Sequence[ClientJob]) -> OptimizerState:
    """Return the state that the stack's optimisers go on from."""
    states = [job.job.state for job in jobs]
    moments = {
        moment: {name: [state.moments[moment][name] for state in states] for name in held}
        for moment, held in states[0].moments.items()
    }
    return OptimizerState(np.array([state.steps_taken for state in states], dtype=np.int64), moments)


def _batches(client: ClientJob, table: FeatureRows) -> NDArray[np.int64]:
    """Return the table's rows of each step, int64 (τ, b), padded with -1."""
    task, first_step = client.job.task, client.job.first_step
    positions = batch_rows(
        len(client.rows),
        task.batch_size,
        seed=task.seed,
        partition_id=client.partition_id,
        first_step=first_step,
        steps=task.local_steps,
    )
    rows = client.rows[positions]
    if table.num_views > 1:
        batches_an_epoch = -(-len(client.rows) // task.batch_size)
        steps = np.arange(first_step, first_step + task.local_steps)
        view = (steps // batches_an_epoch) % table.num_views
        rows = rows + (view * len(table.labels))[:, None]
    return np.where(positions < 0, -1, rows)


def _ordered(jobs: Sequence[ClientJob]) -> OrderedDropout:
    return OrderedDropout(np.stack([_widths(job) for job in jobs]), jobs[0].job.task.self_distillation)


def _widths(client: ClientJob) -> NDArray[np.int64]:
    """Return each step's prefix, drawn from (seed, client, step): int64 (τ, L), units of each shared axis."""
    job = client.job
    drawn = [
        generator(Purpose.ORDERED_WIDTH, job.task.seed, client.partition_id, step).integers(len(job.part.prefixes))
        for step in range(job.first_step, job.first_step + job.task.local_steps)
    ]
    return np.array(job.part.prefixes, dtype=np.int64)[drawn]


def _padded(batches: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    width = max(rows.shape[1] for rows in batches)
    padded = np.full((len(batches), len(batches[0]), width), -1, dtype=np.int64)
    for target, rows in zip(padded, batches, strict=True):
        target[:, : rows.shape[1]] = rows
    return padded
