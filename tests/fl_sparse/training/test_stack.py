"""Stacked training against autograd, one subnet at a time; and its laws."""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.errors import InputError
from fl_sparse.features.moments import Standardizer, moments_of
from fl_sparse.mlp import MLPSpec, init_parameters
from fl_sparse.training import Namespace, OptimizerSpec, TorchNamespace, TrainResult, batch_rows, train_stack
from tests import reference

OPTIMIZERS = [
    OptimizerSpec("sgd", 0.1),
    OptimizerSpec("sgd", 0.1, momentum=0.9),
    OptimizerSpec("sgd", 0.1, proximal=0.5),
    OptimizerSpec("sgd", 0.05, momentum=0.5, proximal=1.0),
    # A gradient that is all rounding moves a weight by a full step of Adam's, unless epsilon is above the rounding.
    OptimizerSpec("adam", 0.003, epsilon=1e-3),
    OptimizerSpec("adam", 0.003, proximal=0.5, beta1=0.8, beta2=0.99, epsilon=1e-3),
]
ADAM = OptimizerSpec("adam", 0.003)
NAMESPACES = {"numpy": Namespace, "torch": TorchNamespace}
# Relative L2 distance (as `distance` takes it): from float64 training, another stacking, or the other namespace.
# LayerNorm over few units divides by small differences: torch's own float32 training is as far from float64 there.
TOLERANCE = {"none": 5e-5, "layer": 1e-3}


@dataclass(frozen=True)
class Job:
    spec: MLPSpec
    parameters: list[dict[str, np.ndarray]]
    scales: tuple[np.ndarray, ...]
    features: np.ndarray
    labels: np.ndarray
    batches: np.ndarray
    optimizer: OptimizerSpec

    def run(self, namespace: Namespace, chosen: list[int] | None = None, **options) -> TrainResult:
        chosen = list(range(len(self.parameters))) if chosen is None else chosen
        own = self.features.ndim == 3
        return train_stack(
            {name: [self.parameters[a][name] for a in chosen] for name in self.parameters[0]},
            tuple(scale[chosen] for scale in self.scales),
            self.features[chosen] if own else self.features,
            self.labels[chosen] if own else self.labels,
            self.batches[chosen],
            optimizer=self.optimizer,
            spec=self.spec,
            namespace=namespace,
            **options,
        )


def make_job(
    *,
    widths=(9, 7),
    sizes=(11, 6, 3),
    batch=4,
    steps=7,
    optimizer=OPTIMIZERS[0],
    activation="relu",
    normalization="none",
    skip=False,
    own=False,
    seed=0,
) -> Job:
    rng = np.random.default_rng(seed)
    spec = MLPSpec(8, tuple(widths), 5, activation, normalization)
    parameters = [init_parameters(spec, seed + a) for a in range(len(sizes))]
    for values in parameters:
        for name in values:
            if ".norm." in name:
                values[name] += rng.normal(0, 0.1, values[name].shape).astype(np.float32)
        if skip:
            values["skip.weight"] = rng.normal(size=(5, 8)).astype(np.float32)
            values["skip.bias"] = rng.normal(size=5).astype(np.float32)
    total = max(sizes) if own else sum(sizes)
    shape = (len(sizes), total) if own else (total,)
    starts = np.zeros(len(sizes), dtype=int) if own else np.cumsum([0, *sizes[:-1]])
    batches = np.full((len(sizes), steps, min(batch, max(sizes))), -1)
    for a, size in enumerate(sizes):
        rows = batch_rows(size, batch, seed=seed, partition_id=a, first_step=3, steps=steps)
        batches[a, :, : rows.shape[1]] = np.where(rows < 0, -1, rows + starts[a])
    return Job(
        spec,
        parameters,
        tuple(
            np.array([1.0 if layer == 0 else 1 + (a + layer) % 3 for a in range(len(sizes))])
            for layer in range(len(widths) + 1)
        ),
        rng.normal(size=(*shape, 8)).astype(np.float32),
        rng.integers(0, 5, shape),
        batches,
        optimizer,
    )


def jobs_of(normalization: str, least_width: int) -> st.SearchStrategy[Job]:
    return st.builds(
        make_job,
        widths=st.lists(st.integers(least_width, 12), max_size=3),
        sizes=st.lists(st.integers(1, 13), min_size=1, max_size=5),
        batch=st.integers(1, 6),
        steps=st.integers(1, 8),
        optimizer=st.sampled_from(OPTIMIZERS),
        activation=st.sampled_from(["relu", "gelu"]),
        normalization=st.just(normalization),
        skip=st.booleans(),
        own=st.booleans(),
        seed=st.integers(0, 1000),
    )


# LayerNorm over one or two units has a gradient of zero, of which float32 leaves rounding alone.
jobs = st.one_of(jobs_of("none", 1), jobs_of("layer", 4))


def distance(job: Job, a: int, one, other) -> float:
    """L2 distance of two trained subnets, over how far they are from the start and a hundredth of the start itself.

    The latter, since float32 weights cannot show a change that is small against them.
    """

    def norm(left, right) -> float:
        return float(np.sqrt(sum(np.square(np.float64(left[name]) - right[name]).sum() for name in job.parameters[a])))

    start = job.parameters[a]
    return norm(one, other) / (norm(other, start) + 0.01 * norm(start, dict.fromkeys(start, 0.0)))


def of(result: TrainResult, a: int) -> dict[str, np.ndarray]:
    return {name: values[a] for name, values in result.parameters.items()}


def assert_same_bits(one: TrainResult, other: TrainResult) -> None:
    for name, values in one.parameters.items():
        assert values.tobytes() == other.parameters[name].tobytes(), name
    assert one.loss.tobytes() == other.loss.tobytes()


@pytest.mark.parametrize("kind", NAMESPACES)
@settings(max_examples=40, deadline=None)
@given(job=jobs)
def test_agrees_with_autograd_and_torch_optim(kind: str, job: Job) -> None:
    result = job.run(NAMESPACES[kind]())
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


@pytest.mark.parametrize("kind", NAMESPACES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("own", [False, True])
def test_a_linear_classifier_agrees_with_autograd(kind: str, optimizer: OptimizerSpec, own: bool) -> None:
    job = make_job(widths=(), optimizer=optimizer, own=own)
    result = job.run(NAMESPACES[kind]())
    for a in range(len(job.parameters)):
        data = (job.features[a], job.labels[a]) if own else (job.features, job.labels)
        expected, loss = reference.train(job.parameters[a], [1.0], *data, job.batches[a], optimizer, job.spec)
        assert set(expected) == {"output.weight", "output.bias"}
        assert distance(job, a, of(result, a), expected) < TOLERANCE["none"]
        assert result.loss[a] == pytest.approx(loss, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("kind", NAMESPACES)
@settings(max_examples=25, deadline=None)
@given(job=jobs)
def test_stacked_and_one_by_one_agree(kind: str, job: Job) -> None:
    together = job.run(NAMESPACES[kind]())
    for a in range(len(job.parameters)):
        alone = job.run(NAMESPACES[kind](), [a])
        assert distance(job, a, of(together, a), of(alone, 0)) < TOLERANCE[job.spec.normalization]
        assert together.loss[a] == pytest.approx(alone.loss[0], rel=1e-4, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(job=jobs)
def test_numpy_and_torch_agree(job: Job) -> None:
    one, other = job.run(Namespace()), job.run(TorchNamespace())
    for a in range(len(job.parameters)):
        assert distance(job, a, of(one, a), of(other, a)) < TOLERANCE[job.spec.normalization]
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", NAMESPACES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_same_call_gives_the_same_bits_and_changes_no_input(kind: str, optimizer: OptimizerSpec) -> None:
    job = make_job(optimizer=optimizer, activation="gelu", normalization="layer", skip=True)
    before = [{name: values.copy() for name, values in held.items()} for held in job.parameters]
    assert_same_bits(job.run(NAMESPACES[kind]()), job.run(NAMESPACES[kind]()))
    for held, copy in zip(job.parameters, before, strict=True):
        assert all(held[name].tobytes() == copy[name].tobytes() for name in held)


@pytest.mark.parametrize("kind", NAMESPACES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_of_padding_moves_neither_weights_nor_optimizer(kind: str, optimizer: OptimizerSpec) -> None:
    job = make_job(optimizer=optimizer)
    idle = job.batches.copy()
    idle = np.insert(idle, [2, 2, 5], -1, axis=1)
    idle[1] = np.concatenate([job.batches[1], np.full((3, idle.shape[2]), -1)])
    padded = Job(job.spec, job.parameters, job.scales, job.features, job.labels, idle, optimizer)
    one, other = job.run(NAMESPACES[kind](), keep_state=True), padded.run(NAMESPACES[kind](), keep_state=True)
    for name, values in one.parameters.items():
        np.testing.assert_allclose(values, other.parameters[name], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-6)
    assert one.optimizer_state is not None
    assert other.optimizer_state is not None
    np.testing.assert_array_equal(one.optimizer_state.steps, other.optimizer_state.steps)


@pytest.mark.parametrize("kind", NAMESPACES)
def test_a_subnet_without_any_example_keeps_its_bits(kind: str) -> None:
    for optimizer in OPTIMIZERS:
        job = make_job(optimizer=optimizer)
        job.batches[1] = -1
        result = job.run(NAMESPACES[kind](), keep_state=True)
        assert all(
            values[1].tobytes() == job.parameters[1][name].tobytes() for name, values in result.parameters.items()
        )
        assert result.loss[1] == 0
        assert result.optimizer_state is not None
        assert result.optimizer_state.steps.tolist() == [7, 0, 7]


@pytest.mark.parametrize("kind", NAMESPACES)
@pytest.mark.parametrize("optimizer", [*OPTIMIZERS[:2], ADAM])
def test_steps_continue_where_a_state_was_kept(kind: str, optimizer: OptimizerSpec) -> None:
    job = make_job(optimizer=optimizer, steps=8)
    whole = job.run(NAMESPACES[kind](), keep_state=True)
    first = Job(job.spec, job.parameters, job.scales, job.features, job.labels, job.batches[:, :3], optimizer)
    half = first.run(NAMESPACES[kind](), keep_state=True)
    held = [of(half, a) for a in range(3)]
    second = Job(job.spec, held, job.scales, job.features, job.labels, job.batches[:, 3:], optimizer)
    rest = second.run(NAMESPACES[kind](), state=half.optimizer_state, keep_state=True)
    assert whole.optimizer_state is not None
    assert rest.optimizer_state is not None
    for name, values in whole.parameters.items():
        np.testing.assert_allclose(values, rest.parameters[name], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(whole.optimizer_state.steps, rest.optimizer_state.steps)
    fresh = second.run(NAMESPACES[kind]())
    if optimizer != OPTIMIZERS[0]:
        assert any(not np.array_equal(fresh.parameters[name], rest.parameters[name]) for name in rest.parameters)


@pytest.mark.parametrize("kind", NAMESPACES)
@pytest.mark.parametrize("optimizer", [OPTIMIZERS[1], ADAM])
def test_one_subnet_of_one_client_is_central_training_that_resets_its_optimizer(kind: str, optimizer) -> None:
    steps, rounds, n = 6, 4, 23
    job = make_job(sizes=(n,), optimizer=optimizer)
    spec, ones = job.spec, (1.0, 1.0, 1.0)
    federated = central = job.parameters[0]
    for number in range(rounds):
        rows = batch_rows(n, 5, seed=9, partition_id=0, first_step=number * steps, steps=steps)
        stacked = {name: values[None] for name, values in federated.items()}
        result = train_stack(
            stacked,
            ones,
            job.features,
            job.labels,
            rows[None],
            optimizer=optimizer,
            spec=spec,
            namespace=NAMESPACES[kind](),
        )
        federated = of(result, 0)
        central, loss = reference.train(central, ones, job.features, job.labels, rows, optimizer, spec)
        assert distance(job, 0, federated, central) < 1e-4
        assert result.loss[0] == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("kind", NAMESPACES)
def test_a_cohort_larger_than_its_memory_is_trained_in_parts(kind: str) -> None:
    job = make_job(sizes=(9, 5, 7, 3, 8), optimizer=ADAM)
    whole = job.run(NAMESPACES[kind](), keep_state=True)
    small = NAMESPACES[kind]()
    small.stack_bytes = 2 * 4 * 4 * sum(values.size for values in job.parameters[0].values())
    parts = job.run(small, keep_state=True)
    for name, values in whole.parameters.items():
        np.testing.assert_allclose(values, parts.parameters[name], rtol=0, atol=1e-6)
    assert whole.optimizer_state is not None
    assert parts.optimizer_state is not None
    np.testing.assert_array_equal(whole.optimizer_state.steps, parts.optimizer_state.steps)


@pytest.mark.parametrize("kind", NAMESPACES)
def test_a_standardizer_is_applied_to_what_is_read(kind: str) -> None:
    job = make_job()
    standardizer = Standardizer.of(moments_of(job.features * 3 + 1))
    raw = job.run(NAMESPACES[kind](), standardizer=standardizer)
    ready = Job(
        job.spec, job.parameters, job.scales, standardizer(job.features), job.labels, job.batches, job.optimizer
    )
    assert_same_bits(raw, ready.run(NAMESPACES[kind]()))


@pytest.mark.parametrize("kind", NAMESPACES)
def test_features_may_be_memory_mapped(kind: str, tmp_path) -> None:
    job = make_job()
    job.features.tofile(tmp_path / "features")
    mapped = np.memmap(tmp_path / "features", dtype=np.float32, mode="r", shape=job.features.shape)
    stored = Job(job.spec, job.parameters, job.scales, mapped, job.labels, job.batches, job.optimizer)
    assert_same_bits(job.run(NAMESPACES[kind]()), stored.run(NAMESPACES[kind]()))


def test_features_may_be_a_tensor() -> None:
    job = make_job()
    held = Job(job.spec, job.parameters, job.scales, torch.tensor(job.features), job.labels, job.batches, job.optimizer)
    assert_same_bits(job.run(TorchNamespace()), held.run(TorchNamespace()))


@pytest.mark.parametrize("kind", NAMESPACES)
def test_a_client_reads_only_rows_it_holds(kind: str) -> None:
    job = make_job(sizes=(5, 3), batch=4)
    expected = job.run(NAMESPACES[kind]())
    spoiled = Job(
        job.spec,
        job.parameters,
        job.scales,
        np.concatenate([np.full((1, 8), np.nan, dtype=np.float32), job.features]),
        np.concatenate([[0], job.labels]),
        np.where(job.batches < 0, -1, job.batches + 1),
        job.optimizer,
    )
    assert_same_bits(expected, spoiled.run(NAMESPACES[kind]()))


@pytest.mark.parametrize("label", [-1, 5])
def test_a_label_that_is_no_class_is_refused(label: int) -> None:
    job = make_job()
    job.labels[job.batches[0, 0, 0]] = label
    with pytest.raises(InputError, match=f"label {label} of a training example: expected 0 to 4"):
        job.run(Namespace())


def test_kernels_do_not_grow_with_the_cohort() -> None:
    def launched(clients: int) -> int:
        job = make_job(sizes=(6,) * clients, optimizer=ADAM)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            job.run(TorchNamespace())
        # A tensor made around a client's NumPy array launches nothing.
        return sum(
            event.count
            for event in profile.key_averages()
            if event.key.startswith("aten::") and event.key != "aten::lift_fresh"
        )

    launched(1)
    assert launched(24) == launched(2)


def test_training_imports_neither_torch_nor_timm() -> None:
    code = (
        "import sys, numpy as np, fl_sparse.subnet; from fl_sparse.training import *; from fl_sparse.mlp import *\n"
        "spec = MLPSpec(3, (4,), 2); start = {n: v[None] for n, v in init_parameters(spec, 0).items()}\n"
        "x, y = np.ones((5, 3), np.float32), np.zeros(5, np.int64)\n"
        "rows = batch_rows(5, 2, seed=0, partition_id=0, first_step=0, steps=4)[None]\n"
        "adam = OptimizerSpec('adam', .1)\n"
        "train_stack(start, (1, 1), x, y, rows, optimizer=adam, spec=spec, namespace=Namespace())\n"
        "predict({n: v[0] for n, v in start.items()}, spec, x)\n"
        "assert not {'torch', 'timm', 'flwr', 'safetensors'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
