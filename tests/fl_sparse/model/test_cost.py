"""FLOPs by layer are what PyTorch counts; weights are those of the shapes, or of the prefixes that steps draw."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fl_sparse.learn.batches import batch_rows
from fl_sparse.model.cost import examples_trained, flops_by_layer, forward_flops, workload
from fl_sparse.model.mlp import MLPSpec, hidden_axes
from fl_sparse.model.parameters import Model
from fl_sparse.part import Part

SPECS = [
    MLPSpec(7, (5, 4), 3),
    MLPSpec(16, (24,), 10, "gelu", "layer"),
    MLPSpec(9, (8, 6, 5), 4, "relu", "layer"),
    MLPSpec(6, (), 3),
]


class Net(torch.nn.Module):
    """An MLP of layers by name, with a skip term that is not trained."""

    def __init__(self, spec: MLPSpec, skip: bool) -> None:
        super().__init__()
        sizes = (spec.in_features, *spec.hidden_widths)
        self.hidden = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        norm = torch.nn.LayerNorm if spec.normalization == "layer" else torch.nn.Identity
        self.norms = torch.nn.ModuleList(norm(width) for width in spec.hidden_widths)
        self.output = torch.nn.Linear(sizes[-1], spec.num_classes)
        self.skip = torch.nn.Linear(spec.in_features, spec.num_classes).requires_grad_(False) if skip else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x
        for layer, norm in zip(self.hidden, self.norms, strict=True):
            h = torch.relu(norm(layer(h)))
        return self.output(h) if self.skip is None else self.output(h) + self.skip(x)


def counted(spec: MLPSpec, skip: bool, rows: int) -> dict[str, int]:
    """Layer -> FLOPs of a pass forward and backward by autograd, as PyTorch's counter sees them."""
    net = Net(spec, skip)
    with FlopCounterMode(display=False) as counter:
        loss = torch.nn.functional.cross_entropy(net(torch.randn(rows, spec.in_features)), torch.zeros(rows).long())
        loss.backward()
    by_module = {name.removeprefix("Net."): sum(of.values()) for name, of in counter.get_flop_counts().items()}
    assert sum(v for k, v in by_module.items() if k.startswith(("hidden.", "output", "skip"))) == by_module["Net"]
    return {k: v for k, v in by_module.items() if k.startswith(("hidden.", "output", "skip"))}


def model_of(spec: MLPSpec, skip: bool) -> Model:
    return replace(spec, skip=skip).model


def prefix_model(model: Model, widths: tuple[int, ...]) -> Model:
    """Return what a model is within the first units of its hidden layers."""
    return Part({axis: np.arange(width) for axis, width in hidden_axes(widths).items()}).model(model)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_flops_are_what_pytorch_counts_layer_by_layer(spec: MLPSpec, skip: bool) -> None:
    assert flops_by_layer(model_of(spec, skip), 11) == counted(spec, skip, 11)
    assert workload(model_of(spec, skip), 11).flops == counted(spec, skip, 11)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("prefixes", [((2, 1),), ((2, 1), (3, 3), (5, 4))])
def test_a_prefix_counts_as_the_model_cut_to_it(prefixes: tuple[tuple[int, ...], ...], skip: bool) -> None:
    whole = SPECS[0]
    cut = [MLPSpec(whole.in_features, widths, whole.num_classes) for widths in prefixes]
    held = model_of(whole, skip)
    drawn = [prefix_model(held, widths) for widths in prefixes]
    assert drawn == [model_of(spec, skip) for spec in cut]
    of_prefixes = [counted(spec, skip, 11) for spec in cut]
    mean = {layer: sum(of[layer] for of in of_prefixes) / len(cut) for layer in of_prefixes[0]}
    assert workload(held, 11, drawn).flops == mean
    both = workload(held, 11, drawn, self_distillation=True).flops
    of_whole = counted(whole, skip, 11)
    assert both == {layer: mean[layer] + of_whole[layer] for layer in mean}


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_weights_held_are_the_parameters_and_all_are_active(spec: MLPSpec, skip: bool) -> None:
    work = workload(model_of(spec, skip), 11)
    assert work.weights_held == work.weights_active == sum(p.numel() for p in Net(spec, skip).parameters())


def test_a_prefix_uses_fewer_weights_than_are_held() -> None:
    held, prefixes = SPECS[0].model, ((2, 1), (5, 4))
    drawn = [prefix_model(held, widths) for widths in prefixes]
    work = workload(held, 11, drawn)
    own = [sum(math.prod(spec.shape) for spec in MLPSpec(7, widths, 3).model.values()) for widths in prefixes]
    assert (work.weights_held, work.weights_active) == (own[1], sum(own) / 2)
    assert workload(held, 11, drawn, self_distillation=True).weights_active == work.weights_held


@pytest.mark.parametrize(("examples", "batch", "first", "steps"), [(10, 4, 0, 7), (10, 4, 5, 4), (3, 8, 2, 5)])
def test_the_rows_that_steps_read_are_those_of_their_batches(examples: int, batch: int, first: int, steps: int) -> None:
    rows = batch_rows(examples, batch, seed=0, partition_id=1, first_step=first, steps=steps)
    assert examples_trained(examples, batch, first_step=first, steps=steps) == np.count_nonzero(rows >= 0)


def test_a_forward_pass_is_a_product_a_weight_matrix() -> None:
    assert forward_flops(MLPSpec(6, (4,), 3, normalization="layer").model, 5) == 2 * 5 * (6 * 4 + 4 * 3)
