"""Stacked training against autograd, one part at a time; and its laws."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings

from fl_sparse.array_ops import ArrayOps, TorchOps
from fl_sparse.learn.batches import batch_rows
from fl_sparse.learn.mlp_stack.stack import train_stack
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.learn.stack import StackInput
from fl_sparse.learn.stacked_data import Batches
from tests import reference
from tests.fl_sparse.learn.mlp_stack.stack_jobs import (
    ADAM,
    OPS,
    OPTIMIZERS,
    TOLERANCE,
    Job,
    assert_same_bits,
    distance,
    jobs,
    make_job,
    of,
)
from tests.kernels import kernels_of


@pytest.mark.parametrize("kind", OPS)
@settings(max_examples=40, deadline=None)
@given(job=jobs)
def test_agrees_with_autograd_and_torch_optim(kind: str, job: Job) -> None:
    result = job.run(OPS[kind]())
    for a in range(len(job.parameters)):
        own = job.features.ndim == 3
        expected, loss = reference.train(
            job.parameters[a],
            [float(scale[a]) for scale in job.scales],
            job.features[a] if own else job.features,
            job.labels[a] if own else job.labels,
            job.batches[a],
            job.optimizer,
            job.spec,
        )
        assert distance(job, a, of(result, a), expected) < TOLERANCE[job.spec.normalization]
        assert result.loss[a] == pytest.approx(loss, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("kind", OPS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("own", [False, True])
def test_a_linear_classifier_agrees_with_autograd(kind: str, optimizer: OptimizerSpec, own: bool) -> None:
    job = make_job(widths=(), optimizer=optimizer, own=own)
    result = job.run(OPS[kind]())
    for a in range(len(job.parameters)):
        data = (job.features[a], job.labels[a]) if own else (job.features, job.labels)
        expected, loss = reference.train(job.parameters[a], [1.0], *data, job.batches[a], optimizer, job.spec)
        assert set(expected) == {"output.weight", "output.bias"}
        assert distance(job, a, of(result, a), expected) < TOLERANCE["none"]
        assert result.loss[a] == pytest.approx(loss, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("kind", OPS)
@settings(max_examples=25, deadline=None)
@given(job=jobs)
def test_stacked_and_one_by_one_agree(kind: str, job: Job) -> None:
    together = job.run(OPS[kind]())
    for a in range(len(job.parameters)):
        alone = job.run(OPS[kind](), [a])
        assert distance(job, a, of(together, a), of(alone, 0)) < TOLERANCE[job.spec.normalization]
        assert together.loss[a] == pytest.approx(alone.loss[0], rel=1e-4, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(job=jobs)
def test_numpy_and_torch_agree(job: Job) -> None:
    one, other = job.run(ArrayOps()), job.run(TorchOps())
    for a in range(len(job.parameters)):
        assert distance(job, a, of(one, a), of(other, a)) < TOLERANCE[job.spec.normalization]
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", OPS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_same_call_gives_the_same_bits_and_changes_no_input(kind: str, optimizer: OptimizerSpec) -> None:
    job = make_job(optimizer=optimizer, activation="gelu", normalization="layer", skip=True)
    before = [{name: values.copy() for name, values in held.items()} for held in job.parameters]
    assert_same_bits(job.run(OPS[kind]()), job.run(OPS[kind]()))
    for held, copy in zip(job.parameters, before, strict=True):
        assert all(held[name].tobytes() == copy[name].tobytes() for name in held)


@pytest.mark.parametrize("kind", OPS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_of_padding_moves_neither_weights_nor_optimizer(kind: str, optimizer: OptimizerSpec) -> None:
    job = make_job(optimizer=optimizer)
    idle = job.batches.copy()
    idle = np.insert(idle, [2, 2, 5], -1, axis=1)
    idle[1] = np.concatenate([job.batches[1], np.full((3, idle.shape[2]), -1)])
    padded = Job(job.spec, job.parameters, job.scales, job.features, job.labels, idle, optimizer)
    one, other = job.run(OPS[kind](), keep_state=True), padded.run(OPS[kind](), keep_state=True)
    for name, values in one.parameters.items():
        np.testing.assert_allclose(values, other.parameters[name], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-6)
    assert one.optimizer_state is not None
    assert other.optimizer_state is not None
    np.testing.assert_array_equal(one.optimizer_state.steps, other.optimizer_state.steps)


@pytest.mark.parametrize("kind", OPS)
def test_a_part_without_any_example_keeps_its_bits(kind: str) -> None:
    for optimizer in OPTIMIZERS:
        job = make_job(optimizer=optimizer)
        job.batches[1] = -1
        result = job.run(OPS[kind](), keep_state=True)
        assert all(
            values[1].tobytes() == job.parameters[1][name].tobytes() for name, values in result.parameters.items()
        )
        assert result.loss[1] == 0
        assert result.optimizer_state is not None
        assert result.optimizer_state.steps.tolist() == [7, 0, 7]


@pytest.mark.parametrize("kind", OPS)
@pytest.mark.parametrize("optimizer", [*OPTIMIZERS[:2], ADAM])
def test_steps_continue_where_a_state_was_kept(kind: str, optimizer: OptimizerSpec) -> None:
    job = make_job(optimizer=optimizer, steps=8)
    whole = job.run(OPS[kind](), keep_state=True)
    first = Job(job.spec, job.parameters, job.scales, job.features, job.labels, job.batches[:, :3], optimizer)
    half = first.run(OPS[kind](), keep_state=True)
    held = [of(half, a) for a in range(3)]
    second = Job(job.spec, held, job.scales, job.features, job.labels, job.batches[:, 3:], optimizer)
    rest = second.run(OPS[kind](), state=half.optimizer_state, keep_state=True)
    assert whole.optimizer_state is not None
    assert rest.optimizer_state is not None
    for name, values in whole.parameters.items():
        np.testing.assert_allclose(values, rest.parameters[name], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(whole.optimizer_state.steps, rest.optimizer_state.steps)
    fresh = second.run(OPS[kind]())
    if optimizer != OPTIMIZERS[0]:
        assert any(not np.array_equal(fresh.parameters[name], rest.parameters[name]) for name in rest.parameters)


@pytest.mark.parametrize("kind", OPS)
@pytest.mark.parametrize("optimizer", [OPTIMIZERS[1], ADAM])
def test_one_part_of_one_client_is_central_training_that_resets_its_optimizer(kind: str, optimizer) -> None:
    steps, rounds, n = 6, 4, 23
    job = make_job(sizes=(n,), optimizer=optimizer)
    spec, ones = job.spec, (1.0, 1.0, 1.0)
    federated = central = job.parameters[0]
    for number in range(rounds):
        rows = batch_rows(n, 5, seed=9, partition_id=0, first_step=number * steps, steps=steps)
        stacked = {name: values[None] for name, values in federated.items()}
        data = Batches(job.features, job.labels, rows[None])
        result = train_stack(spec, StackInput(stacked, ones, data, optimizer), OPS[kind]())
        federated = of(result, 0)
        central, loss = reference.train(central, ones, job.features, job.labels, rows, optimizer, spec)
        assert distance(job, 0, federated, central) < 1e-4
        assert result.loss[0] == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("kind", OPS)
def test_a_cohort_larger_than_its_memory_is_trained_in_parts(kind: str) -> None:
    job = make_job(sizes=(9, 5, 7, 3, 8), optimizer=ADAM)
    whole = job.run(OPS[kind](), keep_state=True)
    small = OPS[kind]()
    small.stack_bytes = 2 * 4 * 4 * sum(values.size for values in job.parameters[0].values())
    parts = job.run(small, keep_state=True)
    for name, values in whole.parameters.items():
        np.testing.assert_allclose(values, parts.parameters[name], rtol=0, atol=1e-6)
    assert whole.optimizer_state is not None
    assert parts.optimizer_state is not None
    np.testing.assert_array_equal(whole.optimizer_state.steps, parts.optimizer_state.steps)


def test_kernels_do_not_grow_with_the_cohort() -> None:
    def launched(clients: int) -> int:
        job = make_job(sizes=(6,) * clients, optimizer=ADAM)
        return kernels_of(lambda: job.run(TorchOps()))

    launched(1)
    assert launched(24) == launched(2)


def test_training_imports_neither_torch_nor_timm() -> None:
    code = (
        "import sys, numpy as np, fl_sparse.part, fl_sparse.learn.mlp_stack.learner\n"
        "from fl_sparse.array_ops import ArrayOps\n"
        "from fl_sparse.learn.batches import batch_rows\n"
        "from fl_sparse.learn.mlp_stack.predict import predict\n"
        "from fl_sparse.learn.mlp_stack.stack import train_stack\n"
        "from fl_sparse.learn.optimizers import OptimizerSpec\n"
        "from fl_sparse.learn.stack import StackInput\n"
        "from fl_sparse.learn.stacked_data import Batches\n"
        "from fl_sparse.model.mlp import *\n"
        "spec = MLPSpec(3, (4,), 2); start = {n: v[None] for n, v in init_parameters(spec, 0).items()}\n"
        "x, y = np.ones((5, 3), np.float32), np.zeros(5, np.int64)\n"
        "rows = batch_rows(5, 2, seed=0, partition_id=0, first_step=0, steps=4)[None]\n"
        "adam = OptimizerSpec('adam', .1)\n"
        "train_stack(spec, StackInput(start, (1, 1), Batches(x, y, rows), adam), ArrayOps())\n"
        "predict({n: v[0] for n, v in start.items()}, spec, x)\n"
        "assert not {'torch', 'timm', 'flwr', 'safetensors'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
