"""The network learner behind the protocol: the MLP learner's results job by job, and how a cohort is divided."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fl_sparse.array_ops import ArrayOps, TorchOps
from fl_sparse.learn.descent import moment_names
from fl_sparse.learn.learner import ClientJob, FeatureRows, Learner, train_in_turn
from fl_sparse.learn.mlp_stack.learner import MLPLearner
from fl_sparse.learn.network_stack.learner import NetworkLearner
from fl_sparse.learn.network_stack.mlp import AutogradMLP
from fl_sparse.learn.stack import Stack
from fl_sparse.learn.task import FRESH, CarriedState, HeldPart, Task, TrainingJob
from fl_sparse.model.mlp import MLPSpec, init_parameters
from tests.fl_sparse.learn.network_stack.network_jobs import OPTIMIZERS, TOLERANCE, distance

RNG = np.random.default_rng(0)
TABLE = FeatureRows(RNG.normal(size=(120, 6)).astype(np.float32), RNG.integers(0, 4, 60), num_views=2)
NARROW, WIDE = MLPSpec(6, (5, 4), 4, "gelu"), MLPSpec(6, (8, 4), 4, "gelu")


def client_job(client: int, spec: MLPSpec, task: Task, prefixes: tuple[tuple[int, ...], ...] = ()) -> ClientJob:
    parameters = init_parameters(spec, client)
    moments = {
        moment: {name: np.full(values.shape, 0.01, dtype=np.float32) for name, values in parameters.items()}
        for moment in moment_names(task.optimizer)
    }
    state = CarriedState(moments, 3) if client % 2 and moments else FRESH
    part = HeldPart(parameters, (1.0, 1.5, 2.0), prefixes)
    rows = np.arange(client * 7, client * 7 + 5 + client % 3)
    return ClientJob(TrainingJob(task, client, part, state), client, rows, start=client)


def cohort(optimizer, prefixes: tuple[tuple[int, ...], ...] = (), **changes) -> list[ClientJob]:
    """Jobs of two kinds of shapes, in turns; every second carries its optimiser's state."""
    task = Task("gelu", "none", optimizer, local_steps=4, batch_size=3, seed=1, **changes)
    return [client_job(client, (NARROW, WIDE)[client // 2 % 2], task, prefixes) for client in range(8)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("absent", ["trained", "masked", "zeroed"])
@pytest.mark.parametrize("prefixes", [(), ((2, 2), (5, 4))])
def test_both_learners_train_a_cohort_alike(optimizer, absent: str, prefixes: tuple[tuple[int, ...], ...]) -> None:
    jobs = cohort(optimizer, prefixes, absent_classes=absent, self_distillation=bool(prefixes))
    learners: list[Learner] = [NetworkLearner(AutogradMLP()), MLPLearner(ArrayOps())]
    results = [list(train_in_turn(learner, jobs, TABLE)) for learner in learners]
    for job, one, other in zip(jobs, *results, strict=True):
        start = job.job.part.parameters
        assert distance(start, one.parameters, other.parameters) < TOLERANCE["none"]
        assert one.loss == pytest.approx(other.loss, rel=1e-4, abs=1e-5)
        assert (one.num_examples, one.classes) == (other.num_examples, other.classes)
        assert list(one.moments) == list(other.moments) == list(job.job.state.moments)
        for moment, held in one.moments.items():
            for name, values in held.items():
                np.testing.assert_allclose(values, other.moments[moment][name], rtol=1e-3, atol=1e-5)


def test_jobs_are_stacked_by_kind_as_many_as_fit() -> None:
    jobs = [client_job(0, spec, cohort(OPTIMIZERS[0])[0].job.task) for spec in (NARROW, WIDE, NARROW, NARROW, WIDE)]
    jobs = [replace(job, start=spec) for job, spec in zip(jobs, (0, 1, 0, 0, 1), strict=True)]
    learner = NetworkLearner(AutogradMLP())
    assert learner.stacks(jobs) == [Stack([0, 2, 3]), Stack([1, 4])]
    assert learner.network(jobs[1].job) == WIDE
    ops = TorchOps()
    ops.stack_bytes = 2 * 2 * sum(values.nbytes for values in jobs[0].job.part.parameters.values())
    assert NetworkLearner(AutogradMLP(), ops).stacks(jobs) == [Stack([0, 2]), Stack([1]), Stack([3]), Stack([4])]


def test_one_start_is_trained_without_factors() -> None:
    task = cohort(OPTIMIZERS[0])[0].job.task
    wide = MLPSpec(6, (200,), 4, "gelu")
    shared = client_job(0, wide, task)
    jobs = [replace(shared, partition_id=client) for client in range(20)]
    assert NetworkLearner(AutogradMLP()).stacks(jobs) == [Stack(list(range(20)))]


def test_a_network_of_another_kind_is_refused() -> None:
    learner = NetworkLearner(AutogradMLP())
    job = cohort(OPTIMIZERS[0])[0]

    class Other:
        model, shared_axes, num_classes = NARROW.model, NARROW.shared_axes, NARROW.num_classes

    class Misled(AutogradMLP):
        def spec(self, job: TrainingJob) -> Other:  # type: ignore[override]
            return Other()

    with pytest.raises(TypeError, match="this network is an MLP, not a Other"):
        list(train_in_turn(NetworkLearner(Misled()), [job], TABLE))
    assert learner.network(job.job) == NARROW
