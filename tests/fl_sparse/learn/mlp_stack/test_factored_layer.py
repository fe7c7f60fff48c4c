"""Weights trained by their factors are the weights that the stack trains where every part has its own copy."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.array_ops import ArrayOps
from fl_sparse.learn.mlp_stack.factored_layer import coefficients
from fl_sparse.learn.mlp_stack.learner import factored_names
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.learn.ordered_dropout import OrderedDropout
from fl_sparse.learn.stack import StackResult
from fl_sparse.model.mlp import MLPSpec
from fl_sparse.part.factored import FactoredWeight
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

SGD = [optimizer for optimizer in OPTIMIZERS if optimizer.name == "sgd"]


def alike(job: Job, optimizer: OptimizerSpec | None = None) -> Job:
    """Return the job with all parts starting from the first one's parameters."""
    return replace(
        job,
        parameters=[job.parameters[0]] * len(job.parameters),
        optimizer=job.optimizer if optimizer is None else optimizer,
    )


def matrices(job: Job) -> list[str]:
    return [
        name for name in job.parameters[0] if name.endswith(".weight") and ".norm." not in name and "skip" not in name
    ]


def factored(job: Job, names: list[str], kind: str, chosen: list[int] | None = None) -> StackResult:
    shared = {name: job.parameters[0][name] for name in names}
    own = [{name: values for name, values in held.items() if name not in shared} for held in job.parameters]
    return replace(job, parameters=own).run(OPS[kind](), chosen, shared=shared)


def multiplied(result: StackResult) -> StackResult:
    """Return the result with every factored weight multiplied out."""
    stacked = {name: np.stack([np.asarray(part) for part in values]) for name, values in result.parameters.items()}
    return replace(result, parameters=stacked)


@pytest.mark.parametrize("kind", OPS)
@settings(max_examples=60, deadline=None)
@given(job=jobs, optimizer=st.sampled_from(SGD), some=st.integers(0, 15))
def test_agree_with_copies(kind: str, job: Job, optimizer: OptimizerSpec, some: int) -> None:
    job = alike(job, optimizer)
    names = [name for number, name in enumerate(matrices(job)) if some >> number & 1]
    copied, by_factors = job.run(OPS[kind]()), factored(job, names, kind)
    assert {name for name, values in by_factors.parameters.items() if isinstance(values, list)} == set(names)
    for a in range(len(job.parameters)):
        whole = {name: np.asarray(values) for name, values in of(by_factors, a).items()}
        assert distance(job, a, whole, of(copied, a)) < TOLERANCE[job.spec.normalization]
    np.testing.assert_allclose(by_factors.loss, copied.loss, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", OPS)
@pytest.mark.parametrize("optimizer", SGD, ids=str)
def test_a_step_of_padding_moves_nothing(kind: str, optimizer: OptimizerSpec) -> None:
    job = alike(make_job(optimizer=optimizer))
    idle = np.insert(job.batches, [2, 2, 5], -1, axis=1)
    idle[1] = np.concatenate([job.batches[1], np.full((3, idle.shape[2]), -1)])
    idle[2] = -1
    expected, found = (
        replace(job, batches=idle).run(OPS[kind]()),
        factored(replace(job, batches=idle), matrices(job), kind),
    )
    for a in range(len(job.parameters)):
        for name, values in of(found, a).items():
            np.testing.assert_allclose(np.asarray(values), expected.parameters[name][a], rtol=1e-5, atol=1e-6)
    for name in matrices(job):
        assert np.asarray(found.parameters[name][2]).tobytes() == job.parameters[0][name].tobytes()


@pytest.mark.parametrize("kind", OPS)
def test_the_same_call_gives_the_same_bits_and_changes_no_input(kind: str) -> None:
    job = alike(make_job(activation="gelu", normalization="layer", skip=True, optimizer=SGD[3]))
    before = {name: values.copy() for name, values in job.parameters[0].items()}
    runs = [factored(job, matrices(job), kind) for _ in range(2)]
    for result in runs:
        assert all(isinstance(result.parameters[name], list) for name in matrices(job))
    assert_same_bits(*(multiplied(result) for result in runs))
    assert all(values.tobytes() == before[name].tobytes() for name, values in job.parameters[0].items())


@pytest.mark.parametrize("kind", OPS)
def test_a_large_stack_goes_through_memory_in_parts(kind: str) -> None:
    job = alike(make_job(sizes=(5, 4, 6, 5, 4)))
    ops = OPS[kind]()
    ops.stack_bytes = 1
    shared = {name: job.parameters[0][name] for name in matrices(job)}
    own = [{name: values for name, values in held.items() if name not in shared} for held in job.parameters]
    parts, whole = replace(job, parameters=own).run(ops, shared=shared), factored(job, matrices(job), kind)
    for name in shared:
        assert len(parts.parameters[name]) == 5
        for one, other in zip(parts.parameters[name], whole.parameters[name], strict=True):
            np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-5, atol=1e-6)


def test_coefficients_are_those_of_the_steps_written_out() -> None:
    optimizer = OptimizerSpec("sgd", 0.3, momentum=0.5, proximal=2.0)
    active = np.array([[1, 1], [1, 0], [1, 1], [0, 1]], dtype=bool)
    found = coefficients(optimizer, active)
    assert found.shape == (5, 2, 4)
    for a in range(2):
        # One weight whose gradient in step s is the s-th unit vector: its trace is the coefficients.
        weight, velocity = np.zeros(4), np.zeros(4)
        for step in range(4):
            np.testing.assert_allclose(found[step, a], weight, rtol=1e-6)
            if active[step, a]:
                velocity = 0.5 * velocity + np.eye(4)[step] + 2.0 * weight
                weight = weight - 0.3 * velocity
        np.testing.assert_allclose(found[4, a], weight, rtol=1e-6)


@pytest.mark.parametrize("optimizer", [ADAM, OptimizerSpec("adam", 0.1, proximal=1.0)], ids=str)
def test_adam_is_refused(optimizer: OptimizerSpec) -> None:
    job = alike(make_job(), optimizer)
    with pytest.raises(ValueError, match="fresh SGD only"):
        factored(job, matrices(job), "numpy")


def test_ordered_dropout_and_kept_state_are_refused() -> None:
    job = alike(make_job())
    shared = {"hidden.0.weight": job.parameters[0]["hidden.0.weight"]}
    for more in ({"keep_state": True}, {"ordered": OrderedDropout(np.full((3, 7, 2), 5), False)}):
        with pytest.raises(ValueError, match="fresh SGD only"):
            job.run(ArrayOps(), shared=shared, **more)


def test_kernels_do_not_grow_with_the_stack() -> None:
    few, many = (alike(make_job(sizes=(6,) * count)) for count in (2, 9))
    counts = [kernels_of(lambda job=job: factored(job, matrices(job), "torch")) for job in (few, many)]
    assert counts[0] == counts[1]


def test_names_are_of_matrices_larger_than_their_factors() -> None:
    model = MLPSpec(768, (256,), 10, normalization="layer").model
    assert factored_names(model, 100) == ("hidden.0.weight",)
    assert factored_names(model, 192) == ()
    assert factored_names(model, 9) == ("hidden.0.weight", "output.weight")


@pytest.mark.parametrize("kind", OPS)
def test_finite_by_the_bound_or_by_looking(kind: str) -> None:
    ops = OPS[kind]()

    def made(left: list[float], right: list[float], received: float = 1.0) -> FactoredWeight:
        rows = [np.array([[values]], dtype=np.float32) for values in (left, right)]
        gradients, inputs = (ops.from_host(factor) for factor in rows)
        bound = float(np.float64(ops.norms(gradients)[0]) * ops.norms(inputs)[0])
        return FactoredWeight(np.full((2, 2), received, dtype=np.float32), gradients[0], inputs[0], ops, bound)

    assert made([1, 2], [3, 4]).bound == pytest.approx(np.sqrt(5) * 5)
    assert made([1, 2], [3, 4]).finite()
    assert not made([1, np.nan], [3, 4]).finite()
    assert not made([1, 2], [np.inf, 4]).finite()
    assert made([1e25, 0], [1e10, 0]).finite()
    assert not made([1e25, 0], [1e15, 0]).finite()
    assert not made([1e19, 0], [2e19, 0], 3e38).finite()
    np.testing.assert_array_equal(np.asarray(made([1, 2], [3, 4])), [[4, 5], [7, 9]])


@pytest.mark.parametrize("kind", OPS)
def test_bounds_hold(kind: str) -> None:
    job = alike(make_job(optimizer=SGD[3]))
    for name, weights in factored(job, matrices(job), kind).parameters.items():
        for weight in weights:
            if isinstance(weight, FactoredWeight):
                largest = np.abs(np.asarray(weight) - job.parameters[0][name]).max()
                assert 0 < largest <= weight.bound * 1.001 < 1e3


def test_the_skip_term_is_not_trained_by_factors() -> None:
    job = alike(make_job(skip=True))
    with pytest.raises(ValueError, match="the skip term is not trained"):
        factored(job, ["skip.weight"], "numpy")
    assert factored_names(MLPSpec(768, (), 100, skip=True).model, 4) == ("output.weight",)
