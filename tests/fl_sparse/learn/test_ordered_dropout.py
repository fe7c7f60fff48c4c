"""Steps that train a prefix of the units: the same as cutting it out, step by step."""

import numpy as np
import pytest
import torch

from fl_sparse.array_ops import ArrayOps, TorchOps
from fl_sparse.learn.learner import ClientJob, FeatureRows, train_in_turn
from fl_sparse.learn.mlp_stack.learner import MLPLearner
from fl_sparse.learn.mlp_stack.stack import train_stack
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.learn.ordered_dropout import OrderedDropout
from fl_sparse.learn.stack import StackInput
from fl_sparse.learn.stacked_data import Batches
from fl_sparse.learn.task import TrainingJob
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.part import Part, PartUpdate, reassemble
from fl_sparse.rng import Purpose, generator
from fl_sparse.wire import content_of_order, read_order
from tests.fl_sparse.train_orders import order, training_job

SPEC = MLPSpec(5, (8, 6), 3, "gelu")
PREFIXES = ((2, 2), (4, 3), (8, 6))
RNG = np.random.default_rng(0)
FEATURES, LABELS = RNG.normal(size=(40, 5)).astype(np.float32), RNG.integers(0, 3, 40)
SGD = OptimizerSpec("sgd", 0.1)


def prefix_part(widths: tuple[int, ...]) -> Part:
    return Part({f"hidden.{layer}": np.arange(width) for layer, width in enumerate(widths)})


@pytest.mark.parametrize("ops", [ArrayOps(), TorchOps()], ids=["numpy", "torch"])
def test_a_masked_step_is_a_step_of_the_cut_model(ops: ArrayOps) -> None:
    starts = [init_parameters(SPEC, seed) for seed in (0, 1)]
    widths = np.array([[PREFIXES[d] for d in (0, 2, 1, 0)], [PREFIXES[d] for d in (1, 1, 2, 0)]])
    batches = RNG.integers(0, 40, size=(2, 4, 6))
    stacked = {name: [start[name] for start in starts] for name in starts[0]}
    data = Batches(FEATURES, LABELS, batches)
    masked = train_stack(SPEC, StackInput(stacked, (1.0,) * 3, data, SGD, ordered=OrderedDropout(widths)), ops)
    for a, start in enumerate(starts):
        whole = start
        for step in range(4):
            own = tuple(widths[a, step].tolist())
            part = prefix_part(own)
            held = {name: values[None] for name, values in part.cut(SPEC.model, whole).items()}
            data = Batches(FEATURES, LABELS, batches[a : a + 1, step : step + 1])
            trained = train_stack(MLPSpec(5, own, 3, "gelu"), StackInput(held, (1.0,) * 3, data, SGD), ops)
            update = PartUpdate(part, {name: values[0] for name, values in trained.parameters.items()}, 1.0)
            whole, _ = reassemble(SPEC.model, whole, [update])
        for name, values in whole.items():
            np.testing.assert_allclose(masked.parameters[name][a], values, rtol=1e-5, atol=1e-6, err_msg=name)


def masked_logits(tensors: dict, rows: np.ndarray, widths: tuple[int, ...]) -> torch.Tensor:
    h = torch.tensor(FEATURES[rows])
    for layer, width in enumerate(widths):
        z = h @ tensors[f"hidden.{layer}.weight"].T + tensors[f"hidden.{layer}.bias"]
        h = torch.nn.functional.gelu(z, approximate="tanh") * (torch.arange(z.shape[1]) < width)
    return h @ tensors["output.weight"].T + tensors["output.bias"]


@pytest.mark.parametrize("optimizer", [SGD, OptimizerSpec("adam", 0.01), OptimizerSpec("sgd", 0.1, 0.9, 0.1)])
@pytest.mark.parametrize("distilled", [False, True])
@pytest.mark.parametrize("ops", [ArrayOps(), TorchOps()], ids=["numpy", "torch"])
def test_steps_are_those_of_autograd(optimizer: OptimizerSpec, distilled: bool, ops: ArrayOps) -> None:
    """Momentum and Adam's moments move on where gradients are zero."""
    start, draws = init_parameters(SPEC, 3), (2, 0, 1, 0)
    batches = RNG.integers(0, 40, size=(1, 4, 6))
    batches[0, 1, 4:] = -1
    stacked = {name: values[None] for name, values in start.items()}
    ordered = OrderedDropout(np.array([[PREFIXES[d] for d in draws]]), distilled)
    data = Batches(FEATURES, LABELS, batches)
    masked = train_stack(SPEC, StackInput(stacked, (1.0,) * 3, data, optimizer, ordered=ordered), ops)
    tensors = {name: torch.tensor(values, requires_grad=True) for name, values in start.items()}
    steps = (
        torch.optim.Adam(tensors.values(), optimizer.learning_rate)
        if optimizer.name == "adam"
        else torch.optim.SGD(tensors.values(), optimizer.learning_rate, optimizer.momentum)
    )
    for draw, padded in zip(draws, batches[0], strict=True):
        rows = padded[padded >= 0]
        labels = torch.tensor(LABELS[rows])
        prefix = masked_logits(tensors, rows, PREFIXES[draw])
        if distilled:
            whole = masked_logits(tensors, rows, SPEC.hidden_widths)
            teacher = whole.detach().log_softmax(dim=1)
            apart = (teacher.exp() * (teacher - prefix.log_softmax(dim=1))).sum(dim=1).mean()
            loss = torch.nn.functional.cross_entropy(whole, labels) + apart
        else:
            loss = torch.nn.functional.cross_entropy(prefix, labels)
        apart = sum(((tensors[name] - torch.tensor(start[name])) ** 2).sum() for name in start)
        steps.zero_grad()
        (loss + optimizer.proximal / 2 * apart).backward()
        steps.step()
    for name, values in tensors.items():
        np.testing.assert_allclose(masked.parameters[name][0], values.detach(), rtol=1e-4, atol=1e-6, err_msg=name)


START = init_parameters(SPEC, 0)


def job(**changes) -> TrainingJob:
    fields = {
        "scales": (1.0, 1.0, 1.0),
        "activation": "gelu",
        "optimizer": SGD,
        "first_step": 7,
        "local_steps": 5,
        "seed": 2,
        "prefixes": PREFIXES,
    }
    return training_job(START, **(fields | changes))


def across(sent: TrainingJob) -> TrainingJob:
    return read_order(content_of_order(order(sent))).job


def test_prefixes_pass_the_wire() -> None:
    assert across(job()).part.prefixes == PREFIXES
    assert across(job(prefixes=())).part.prefixes == ()
    assert not across(job()).task.self_distillation
    assert across(job(self_distillation=True)).task.self_distillation


def test_prefixes_are_drawn_from_seed_client_and_step() -> None:
    """A client whose steps all draw the smallest prefix changes nothing beyond it."""
    client = next(
        k
        for k in range(10_000)
        if all(generator(Purpose.ORDERED_WIDTH, 2, k, t).integers(3) == 0 for t in range(7, 12))
    )

    def trained(*jobs: TrainingJob) -> list[np.ndarray]:
        clients = [ClientJob(own, client + number, np.arange(40)) for number, own in enumerate(jobs)]
        results = train_in_turn(MLPLearner(), clients, FeatureRows(FEATURES, LABELS))
        return [result.parameters["hidden.0.weight"] for result in results]

    start = START["hidden.0.weight"]
    narrow, other = trained(job(), job())
    changed = narrow != start
    assert changed[:2].any(axis=1).all()
    assert not changed[2:].any()
    assert (other != start)[2:].any()
    whole, _ = trained(job(prefixes=()), job())
    assert (whole != start).any(axis=1).all()


def test_layer_norm_is_refused() -> None:
    spec = MLPSpec(5, (8, 6), 3, normalization="layer")
    stacked = {name: values[None] for name, values in init_parameters(spec, 0).items()}
    data = Batches(FEATURES, LABELS, np.zeros((1, 1, 2), dtype=np.int64))
    stack = StackInput(stacked, (1.0,) * 3, data, SGD, ordered=OrderedDropout(np.array([[[2, 2]]])))
    with pytest.raises(ValueError, match="normalization 'none' only"):
        train_stack(spec, stack, ArrayOps())
