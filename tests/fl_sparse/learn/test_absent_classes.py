"""Training without the classes that a client lacks: against autograd, and their output rows stand still."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.array_ops import ArrayOps, TorchOps
from fl_sparse.learn.absent_classes import AbsentClasses
from fl_sparse.learn.learner import ClientJob, FeatureRows, train_in_turn
from fl_sparse.learn.mlp_stack.learner import MLPLearner
from fl_sparse.learn.mlp_stack.stack import train_stack
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.learn.ordered_dropout import OrderedDropout
from fl_sparse.learn.stack import StackInput, StackResult
from fl_sparse.learn.stacked_data import Batches
from fl_sparse.learn.task import Trained
from fl_sparse.model.mlp import MLPSpec, init_parameters
from tests import reference
from tests.fl_sparse.train_orders import training_job

OPS = {"numpy": ArrayOps, "torch": TorchOps}
FILL = {"masked": float("-inf"), "zeroed": 0.0}
OPTIMIZERS = [
    OptimizerSpec("sgd", 0.1),
    OptimizerSpec("sgd", 0.05, momentum=0.9, proximal=0.5),
    OptimizerSpec("adam", 0.003, epsilon=1e-3),
    OptimizerSpec("adam", 0.003, proximal=0.5, epsilon=1e-3),
]
OUTPUTS = ("output.weight", "output.bias")
STEPS, BATCH, EXAMPLES, CLASSES = 5, 4, 30, 4


@dataclass(frozen=True)
class Job:
    """A stack of MLPs, each with examples of its own classes only."""

    spec: MLPSpec
    parameters: list[dict[str, np.ndarray]]
    scales: tuple[float, ...]
    features: np.ndarray
    labels: np.ndarray
    batches: np.ndarray
    present: np.ndarray
    optimizer: OptimizerSpec

    def run(self, kind: str, absent: AbsentClasses | None, **options) -> StackResult:
        held = {name: [values[name] for values in self.parameters] for name in self.parameters[0]}
        data = Batches(self.features, self.labels, self.batches)
        stack = StackInput(held, self.scales, data, self.optimizer, absent=absent, **options)
        return train_stack(self.spec, stack, OPS[kind]())

    def absent(self, a: int) -> list[int]:
        return np.flatnonzero(~self.present[a]).tolist()


def make_job(
    *, stack=3, widths=(7, 6), optimizer=OPTIMIZERS[0], normalization="none", skip=False, padded=False, seed=0
) -> Job:
    rng = np.random.default_rng(seed)
    spec = MLPSpec(5, tuple(widths), CLASSES, "relu", normalization, skip)
    parameters = [init_parameters(spec, seed + a) for a in range(stack)]
    for values in parameters if skip else []:
        values["skip.weight"] = rng.normal(size=(CLASSES, 5)).astype(np.float32)
        values["skip.bias"] = rng.normal(size=CLASSES).astype(np.float32)
    labels = np.arange(EXAMPLES) % CLASSES
    present = np.zeros((stack, CLASSES), dtype=bool)
    batches = np.zeros((stack, STEPS, BATCH), dtype=np.int64)
    for a in range(stack):
        present[a, rng.permutation(CLASSES)[: rng.integers(1, CLASSES + 1)]] = True
        batches[a] = rng.choice(np.flatnonzero(present[a][labels]), size=(STEPS, BATCH))
    if padded:
        batches[0, 1, 2:] = batches[-1, 2] = -1
    features = rng.normal(size=(EXAMPLES, 5)).astype(np.float32)
    return Job(spec, parameters, (1.0, 2.0, 1.5)[: len(widths) + 1], features, labels, batches, present, optimizer)


jobs = st.builds(
    make_job,
    stack=st.integers(1, 4),
    widths=st.lists(st.integers(4, 9), max_size=2),
    optimizer=st.sampled_from(OPTIMIZERS),
    skip=st.booleans(),
    padded=st.booleans(),
    seed=st.integers(0, 1000),
)


@pytest.mark.parametrize("rule", FILL)
@pytest.mark.parametrize("kind", OPS)
@settings(max_examples=30, deadline=None)
@given(job=jobs)
def test_agrees_with_autograd_and_absent_rows_keep_their_bits(kind: str, rule: str, job: Job) -> None:
    result = job.run(kind, AbsentClasses(job.present, rule))
    for a, start in enumerate(job.parameters):
        expected, loss = reference.train(
            start,
            job.scales,
            job.features,
            job.labels,
            job.batches[a],
            job.optimizer,
            job.spec,
            absent=(job.absent(a), FILL[rule]),
        )
        for name, values in expected.items():
            np.testing.assert_allclose(result.parameters[name][a], values, rtol=2e-4, atol=2e-5, err_msg=name)
        assert result.loss[a] == pytest.approx(loss, rel=1e-4, abs=1e-5)
        for name in OUTPUTS:
            still = job.absent(a)
            assert result.parameters[name][a][still].tobytes() == start[name][still].tobytes(), name


@pytest.mark.parametrize("rule", FILL)
@pytest.mark.parametrize("kind", OPS)
def test_layer_norm_goes_along(kind: str, rule: str) -> None:
    job = make_job(normalization="layer", widths=(9, 8), optimizer=OPTIMIZERS[2])
    result = job.run(kind, AbsentClasses(job.present, rule))
    for a, start in enumerate(job.parameters):
        arguments = job.features, job.labels, job.batches[a], job.optimizer, job.spec
        expected, _ = reference.train(start, job.scales, *arguments, absent=(job.absent(a), FILL[rule]))
        for name, values in expected.items():
            np.testing.assert_allclose(result.parameters[name][a], values, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("kind", OPS)
@pytest.mark.parametrize("rule", FILL)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_where_no_class_is_absent_nothing_changes(kind: str, rule: str, optimizer: OptimizerSpec) -> None:
    job = make_job(optimizer=optimizer)
    plain, covered = job.run(kind, None), job.run(kind, AbsentClasses(np.ones_like(job.present), rule))
    for name, values in plain.parameters.items():
        assert values.tobytes() == covered.parameters[name].tobytes(), name
    assert plain.loss.tobytes() == covered.loss.tobytes()


@pytest.mark.parametrize("kind", OPS)
@pytest.mark.parametrize("rule", FILL)
def test_self_distillation_leaves_absent_classes_out_of_teacher_and_prefix(kind: str, rule: str) -> None:
    job = make_job(stack=2, widths=(6, 5), optimizer=OptimizerSpec("sgd", 0.1), seed=4)
    widths = np.array([[[3, 2]] * STEPS, [[6, 5]] * STEPS])
    result = job.run(kind, AbsentClasses(job.present, rule), ordered=OrderedDropout(widths, self_distillation=True))
    present = torch.tensor(job.present)
    for a, start in enumerate(job.parameters):
        tensors = {name: torch.tensor(values, dtype=torch.float64) for name, values in start.items()}
        for tensor in tensors.values():
            tensor.requires_grad_()
        for rows in job.batches[a]:
            x, y = torch.tensor(job.features[rows], dtype=torch.float64), torch.tensor(job.labels[rows])
            logits = []
            for held in (job.spec.hidden_widths, widths[a, 0]):
                h = x
                for layer, units in enumerate(held):
                    z = job.scales[layer] * (h @ tensors[f"hidden.{layer}.weight"].T) + tensors[f"hidden.{layer}.bias"]
                    h = torch.relu(z) * (torch.arange(z.shape[1]) < int(units))
                z = job.scales[-1] * (h @ tensors["output.weight"].T) + tensors["output.bias"]
                logits.append(z[:, present[a]] if rule == "masked" else torch.where(present[a], z, 0.0))
            whole, prefix = logits
            # Only the classes that are left count, under their new numbers.
            truth = (present[a].cumsum(0) - 1)[y] if rule == "masked" else y
            teacher = whole.detach().softmax(dim=1)
            apart = -(teacher * prefix.log_softmax(dim=1)).sum(dim=1).mean()
            (torch.nn.functional.cross_entropy(whole, truth) + apart).backward()
            for tensor in tensors.values():
                tensor.data -= 0.1 * tensor.grad
                tensor.grad = None
        for name, tensor in tensors.items():
            np.testing.assert_allclose(
                result.parameters[name][a], tensor.detach(), rtol=1e-4, atol=1e-5, err_msg=f"{a} {name}"
            )
        still = job.absent(a)
        assert result.parameters["output.weight"][a][still].tobytes() == start["output.weight"][still].tobytes()


START = init_parameters(MLPSpec(5, (7,), CLASSES), 0)


def client_job(rule: str, client: int, rows: np.ndarray) -> ClientJob:
    adam = OptimizerSpec("adam", 0.01)
    return ClientJob(training_job(START, optimizer=adam, batch_size=2, absent_classes=rule), client, rows)


def trained(jobs: list[ClientJob], table: FeatureRows) -> list[Trained]:
    return list(train_in_turn(MLPLearner(), jobs, table))


@pytest.mark.parametrize("views", [1, 2])
def test_a_client_says_the_classes_of_all_its_examples(views: int) -> None:
    """The round's two batches see fewer of them."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), 10)
    features = rng.normal(size=(40 * views, 5)).astype(np.float32)
    parts = [np.r_[0:10, 20:21], np.r_[10:40], np.r_[35:38]]
    table = FeatureRows(features, labels, views)
    results, plain = (
        trained([client_job(rule, client, rows) for client, rows in enumerate(parts)], table)
        for rule in ("masked", "trained")
    )
    assert [result.classes for result in results] == [(0, 2), (1, 2, 3), (3,)]
    assert all(type(number) is int for result in results for number in result.classes or ())
    assert [result.classes for result in plain] == [None] * 3
    # With one class there is nothing to tell apart: no loss, and no step.
    assert results[2].loss == 0.0
    for name, values in START.items():
        np.testing.assert_array_equal(results[2].parameters[name], values)


def test_jobs_of_another_rule_are_not_stacked_together() -> None:
    rng = np.random.default_rng(0)
    table = FeatureRows(rng.normal(size=(20, 5)).astype(np.float32), np.arange(20) % 2)
    jobs = [client_job(rule, 0, np.arange(20)) for rule in ("trained", "masked", "zeroed")]
    together = trained(jobs, table)
    for job, result in zip(jobs, together, strict=True):
        (alone,) = trained([job], table)
        for name, values in alone.parameters.items():
            np.testing.assert_array_equal(result.parameters[name], values)
    assert len({result.parameters["output.weight"].tobytes() for result in together}) == 3
