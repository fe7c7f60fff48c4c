"""Training without the classes that a client lacks: against autograd, and their output rows stand still."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.learn import (
    AbsentClasses,
    ArrayOps,
    OptimizerSpec,
    OrderedDropout,
    TorchOps,
    TrainResult,
    train_stack,
)
from fl_sparse.learn.local_training import LocalData, train_locally
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.wire.exchange import TrainOrder
from tests import reference

NAMESPACES = {"numpy": ArrayOps, "torch": TorchOps}
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
    """A stack of subnets, each with examples of its own classes only."""

    spec: MLPSpec
    parameters: list[dict[str, np.ndarray]]
    scales: tuple[float, ...]
    features: np.ndarray
    labels: np.ndarray
    batches: np.ndarray
    present: np.ndarray
    optimizer: OptimizerSpec

    def run(self, kind: str, absent: AbsentClasses | None, **options) -> TrainResult:
        return train_stack(
            {name: [values[name] for values in self.parameters] for name in self.parameters[0]},
            self.scales,
            self.features,
            self.labels,
            self.batches,
            optimizer=self.optimizer,
            spec=self.spec,
            ops=NAMESPACES[kind](),
            absent=absent,
            **options,
        )

    def absent(self, a: int) -> list[int]:
        return np.flatnonzero(~self.present[a]).tolist()


def make_job(
    *, stack=3, widths=(7, 6), optimizer=OPTIMIZERS[0], normalization="none", skip=False, padded=False, seed=0
) -> Job:
    rng = np.random.default_rng(seed)
    spec = MLPSpec(5, tuple(widths), CLASSES, "relu", normalization)
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
@pytest.mark.parametrize("kind", NAMESPACES)
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
@pytest.mark.parametrize("kind", NAMESPACES)
def test_layer_norm_goes_along(kind: str, rule: str) -> None:
    job = make_job(normalization="layer", widths=(9, 8), optimizer=OPTIMIZERS[2])
    result = job.run(kind, AbsentClasses(job.present, rule))
    for a, start in enumerate(job.parameters):
        arguments = job.features, job.labels, job.batches[a], job.optimizer, job.spec
        expected, _ = reference.train(start, job.scales, *arguments, absent=(job.absent(a), FILL[rule]))
        for name, values in expected.items():
            np.testing.assert_allclose(result.parameters[name][a], values, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("kind", NAMESPACES)
@pytest.mark.parametrize("rule", FILL)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_where_no_class_is_absent_nothing_changes(kind: str, rule: str, optimizer: OptimizerSpec) -> None:
    job = make_job(optimizer=optimizer)
    plain, covered = job.run(kind, None), job.run(kind, AbsentClasses(np.ones_like(job.present), rule))
    for name, values in plain.parameters.items():
        assert values.tobytes() == covered.parameters[name].tobytes(), name
    assert plain.loss.tobytes() == covered.loss.tobytes()


@pytest.mark.parametrize("kind", NAMESPACES)
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


def order(absent_classes: str, **changes) -> TrainOrder:
    fields = {
        "round": 1,
        "subnet": 0,
        "parameters": init_parameters(MLPSpec(5, (7,), CLASSES), 0),
        "scales": (1.0, 1.0),
        "activation": "relu",
        "normalization": "none",
        "optimizer": OptimizerSpec("adam", 0.01),
        "first_step": 0,
        "local_steps": 2,
        "batch_size": 2,
        "seed": 0,
        "standardizer": None,
        "expects_standardizer": False,
        "absent_classes": absent_classes,
    }
    return TrainOrder(**(fields | changes))


@pytest.mark.parametrize("views", [1, 2])
def test_a_client_says_the_classes_of_all_its_examples(views: int) -> None:
    """The round's two batches see fewer of them."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), 10)
    features = rng.normal(size=(40 * views, 5)).astype(np.float32)
    parts = [np.r_[0:10, 20:21], np.r_[10:40], np.r_[35:38]]
    data = [LocalData(features, labels, rows, client, views) for client, rows in enumerate(parts)]
    replies = train_locally([order("masked") for _ in parts], data, ArrayOps())
    assert [reply.classes for reply in replies] == [(0, 2), (1, 2, 3), (3,)]
    assert all(type(number) is int for reply in replies for number in reply.classes or ())
    assert [reply.classes for reply in train_locally([order("trained")] * 3, data, ArrayOps())] == [None] * 3
    # With one class there is nothing to tell apart: no loss, and no step.
    assert replies[2].loss == 0.0
    for name, values in order("masked").parameters.items():
        np.testing.assert_array_equal(replies[2].parameters[name], values)


def test_orders_of_another_rule_are_not_stacked_together() -> None:
    rng = np.random.default_rng(0)
    data = [LocalData(rng.normal(size=(20, 5)).astype(np.float32), np.arange(20) % 2, np.arange(20), 0)] * 3
    rules = ("trained", "masked", "zeroed")
    together = train_locally([order(rule) for rule in rules], data, ArrayOps())
    for rule, own, reply in zip(rules, data, together, strict=True):
        (alone,) = train_locally([order(rule)], [own], ArrayOps())
        for name, values in alone.parameters.items():
            np.testing.assert_array_equal(reply.parameters[name], values)
    assert len({reply.parameters["output.weight"].tobytes() for reply in together}) == 3
