"""Training under autograd: the stacked MLP's results, float64's, and the laws of a stack."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings

from fl_sparse.array_ops import ArrayOps, TorchOps
from fl_sparse.errors import InputError
from fl_sparse.features.statistics import Standardizer, statistics_of
from fl_sparse.learn.batches import batch_rows
from fl_sparse.learn.network_stack.train import fitting
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.learn.stack import StackInput
from fl_sparse.learn.stacked_data import Batches
from tests import reference
from tests.fl_sparse.learn.network_stack.network_jobs import (
    OPTIMIZERS,
    Job,
    arrays_of,
    assert_agree,
    distance,
    jobs,
    make_job,
    of,
)
from tests.kernels import kernels_of

EVERYTHING = {"activation": "gelu", "skip": True, "absent": "zeroed", "distilled": True, "carried": True, "idle": True}


@settings(max_examples=60, deadline=None)
@given(job=jobs)
def test_autograd_agrees_with_the_pass_backward_by_hand(job: Job) -> None:
    one, other = job.autograd(), job.by_hand(ArrayOps())
    assert list(one.parameters) == list(other.parameters)
    for a in range(job.stack.size):
        assert_agree(job, a, one, a, other)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("absent", ["masked", "zeroed"])
@pytest.mark.parametrize("distilled", [None, False, True])
def test_autograd_agrees_under_every_optimizer_rule_and_dropout(optimizer, absent, distilled) -> None:
    job = make_job(optimizer=optimizer, **(EVERYTHING | {"absent": absent, "distilled": distilled}))
    one, other = job.autograd(), job.by_hand(TorchOps())
    for a in range(job.stack.size):
        assert_agree(job, a, one, a, other)


@settings(max_examples=30, deadline=None)
@given(job=jobs)
def test_stacked_and_one_by_one_agree(job: Job) -> None:
    together = job.autograd()
    for a in range(job.stack.size):
        assert_agree(job, a, together, 0, job.alone(a).autograd())


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_the_same_call_gives_the_same_bits_and_changes_no_input(optimizer: OptimizerSpec) -> None:
    job = make_job(optimizer=optimizer, **EVERYTHING)
    assert job.stack.state is not None
    held = [*job.stack.parameters.values(), *(v for kept in job.stack.state.moments.values() for v in kept.values())]
    held += [job.stack.data.features, job.stack.data.rows]
    before = [values.tobytes() for values in held]
    one, other = arrays_of(job.autograd()), arrays_of(job.autograd())
    for name, values in one.items():
        assert isinstance(values, np.ndarray)
        assert values.tobytes() == other[name].tobytes(), name
    assert [values.tobytes() for values in held] == before
    for name in ("skip.weight", "skip.bias"):
        assert one[name].tobytes() == job.stack.parameters[name].tobytes()
        assert f"first {name}" not in one


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("absent", [None, "masked", "zeroed"])
def test_a_part_without_any_example_keeps_its_bits(optimizer: OptimizerSpec, absent: str | None) -> None:
    job = make_job(optimizer=optimizer, carried=True, absent=absent)
    rows = job.stack.data.rows.copy()
    rows[1] = -1
    job = job.with_batches(rows)
    if job.stack.absent is not None:
        job.stack.absent.present[1] = False
    result = job.autograd()
    assert job.stack.state is not None
    assert result.optimizer_state is not None
    for name, values in result.parameters.items():
        assert values[1].tobytes() == job.stack.parameters[name][1].tobytes(), name
        assert values[0].tobytes() != job.stack.parameters[name][0].tobytes(), name
    for moment, held in result.optimizer_state.moments.items():
        for name, values in held.items():
            assert values[1].tobytes() == job.stack.state.moments[moment][name][1].tobytes(), (moment, name)
    assert result.loss[1] == 0
    assert (result.optimizer_state.steps - job.stack.state.steps).tolist() == [7, 0, 7]


@pytest.mark.parametrize("rule", ["masked", "zeroed"])
@pytest.mark.parametrize("optimizer", [OPTIMIZERS[0], OPTIMIZERS[3], OPTIMIZERS[5]], ids=str)
def test_rows_of_absent_classes_keep_their_bits(rule: str, optimizer: OptimizerSpec) -> None:
    job = make_job(optimizer=optimizer, absent=rule, sizes=(3, 2, 4))
    result = job.autograd()
    assert job.stack.absent is not None
    still = ~job.stack.absent.present
    assert still.any(axis=1).all()
    for name in ("output.weight", "output.bias"):
        assert result.parameters[name][still].tobytes() == job.stack.parameters[name][still].tobytes()
        assert (result.parameters[name][~still] != job.stack.parameters[name][~still]).any()


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_steps_continue_where_a_state_was_kept(optimizer: OptimizerSpec) -> None:
    job = make_job(optimizer=optimizer if not optimizer.proximal else dataclasses.replace(optimizer, proximal=0.0))
    rows = job.stack.data.rows
    whole, half = job.autograd(), job.with_batches(rows[:, :3]).autograd()
    rest = job.with_batches(rows[:, 3:])
    rest = Job(job.spec, dataclasses.replace(rest.stack, parameters=half.parameters, state=half.optimizer_state))
    for a in range(job.stack.size):
        assert distance(job.starts[a], of(rest.autograd(), a), of(whole, a)) < 1e-5


def test_a_cohort_larger_than_its_memory_is_trained_in_parts() -> None:
    job = make_job(sizes=(9, 5, 7, 3, 8), optimizer=OPTIMIZERS[5], **EVERYTHING)
    small, part_bytes = TorchOps(), sum(values[0].nbytes for values in job.stack.parameters.values())
    # Adam's parameters, two moments, and gradients twice.
    small.stack_bytes = 2 * 5 * part_bytes
    assert fitting(part_bytes, job.stack.optimizer, small) == 2
    whole, parts = job.autograd(), job.autograd(small)
    for a in range(5):
        assert_agree(job, a, whole, a, parts)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("normalization", ["none", "layer"])
def test_one_part_of_one_client_is_central_training(optimizer: OptimizerSpec, normalization: str) -> None:
    steps, rounds, n = 6, 4, 23
    job = make_job(sizes=(n,), optimizer=optimizer, normalization=normalization, activation="gelu")
    features, labels, ones = job.stack.data.features, job.stack.data.labels, (1.0, 1.0, 1.0)
    federated = central = job.starts[0]
    for number in range(rounds):
        rows = batch_rows(n, 5, seed=9, partition_id=0, first_step=number * steps, steps=steps)
        stacked = {name: values[None] for name, values in federated.items()}
        result = Job(job.spec, StackInput(stacked, ones, Batches(features, labels, rows[None]), optimizer)).autograd()
        assert result.optimizer_state is None
        federated = of(result, 0)
        central, loss = reference.train(central, ones, features, labels, rows, optimizer, job.spec)
        assert distance(job.starts[0], federated, central) < {"none": 1e-4, "layer": 1e-3}[normalization]
        assert result.loss[0] == pytest.approx(loss, rel=1e-4)


def test_a_standardizer_is_applied_to_what_is_read() -> None:
    job = make_job()
    data = job.stack.data
    standardizer = Standardizer.of(statistics_of(data.features * 3 + 1))
    raw = dataclasses.replace(job.stack, data=dataclasses.replace(data, standardizer=standardizer))
    ready = dataclasses.replace(job.stack, data=dataclasses.replace(data, features=standardizer(data.features)))
    one, other = (arrays_of(Job(job.spec, stack).autograd()) for stack in (raw, ready))
    assert all(values.tobytes() == other[name].tobytes() for name, values in one.items())


def test_kernels_do_not_grow_with_the_cohort() -> None:
    def launched(clients: int) -> int:
        job = make_job(sizes=(6,) * clients, optimizer=OPTIMIZERS[4])
        return kernels_of(job.autograd)

    launched(1)
    assert launched(24) == launched(2)


def test_what_it_cannot_train_is_refused() -> None:
    job = make_job()
    plain = dataclasses.replace(job.stack, keep_state=False)
    weight = plain.parameters["hidden.0.weight"][0]
    others = {name: values for name, values in plain.parameters.items() if name != "hidden.0.weight"}
    shared = dataclasses.replace(plain, parameters=others, shared={"hidden.0.weight": weight})
    with pytest.raises(ValueError, match="no factored weights"):
        Job(job.spec, shared).autograd()
    wrong = job.stack.data.labels.copy()
    wrong[job.stack.data.rows[0, 0, 0]] = 5
    mislabelled = dataclasses.replace(plain, data=dataclasses.replace(plain.data, labels=wrong))
    with pytest.raises(InputError, match="label 5 of a training example: expected 0 to 4"):
        Job(job.spec, mislabelled).autograd()
    masked = make_job(normalization="layer", distilled=False)
    with pytest.raises(ValueError, match="normalization 'none' only"):
        masked.autograd()
