"""What training costs a client, counted from shapes: weights to hold, weights that a step uses, and FLOPs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from fl_sparse.model.parameters import FEATURES, Model, ParameterSpec

BACKWARD_AND_FORWARD = 3
"""Matrix products of a weight in a step: outputs, gradients of the weight, gradients of the inputs."""


@dataclass(frozen=True)
class Workload:
    """One client's work in a round.

    Parameters
    ----------
    weights_held
        Parameters that the client receives and holds during the round, biases and the skip term included.
    weights_active
        Parameters that take part in a local step: all, or under ordered dropout the mean over the prefixes.
    flops
        Layer -> FLOPs of all local steps; under ordered dropout the mean over the prefixes.
    """

    weights_held: int
    weights_active: float
    flops: dict[str, float] = field(repr=False)

    @property
    def total_flops(self) -> float:
        """FLOPs of all layers."""
        return sum(self.flops.values())


def workload(held: Model, examples: int, drawn: Sequence[Model] = (), *, self_distillation: bool = False) -> Workload:
    """Return the work of training a model.

    Parameters
    ----------
    held
        The client's model, in the sizes of its part.
    examples
        Rows that its local steps read.
    drawn
        Ordered dropout: the models cut to the prefixes, of which each step draws one uniformly and is counted as if it
        trained the cut-out model. Empty: all steps train all.
    self_distillation
        Ordered dropout: whether each step also passes its rows through the client's whole part.
    """
    whole, size = flops_by_layer(held, examples), num_weights(held)
    if not drawn:
        return Workload(size, float(size), {layer: float(flops) for layer, flops in whole.items()})
    counted = [flops_by_layer(part, examples) for part in drawn]
    flops = {layer: sum(part[layer] for part in counted) / len(drawn) for layer in whole}
    if not self_distillation:
        return Workload(size, sum(map(num_weights, drawn)) / len(drawn), flops)
    return Workload(size, float(size), {layer: whole[layer] + flops[layer] for layer in whole})


def num_weights(model: Model) -> int:
    """Return the number of values of all parameters."""
    return sum(math.prod(spec.shape) for spec in model.values())


def flops_by_layer(model: Model, examples: int) -> dict[str, int]:
    """Return the FLOPs of one forward and backward pass over ``examples`` rows: ``hidden.0``, …, ``output``, ``skip``.

    A matrix product of b rows with an (out × in) weight costs 2·b·out·in. A pass needs three (outputs, weight
    gradients, input gradients), two in the layer that reads the features, which need no gradient, and one for a weight
    that is not trained. Element-wise work (biases, activations, LayerNorm, the loss, the proximal term, the optimiser)
    is left out, as in PyTorch's ``torch.utils.flop_counter``.
    """
    return {
        name.removesuffix(".weight"): _passes(spec) * 2 * examples * math.prod(spec.shape)
        for name, spec in _matrices(model).items()
    }


def forward_flops(model: Model, examples: int) -> float:
    """Return the FLOPs of a forward pass over ``examples`` rows: one product for each weight matrix."""
    return sum(2.0 * examples * math.prod(spec.shape) for spec in _matrices(model).values())


def examples_trained(num_examples: int, batch_size: int, *, first_step: int, steps: int) -> int:
    """Return how many rows a client's local steps read: whole batches, and the short last one of each epoch."""
    batches = -(-num_examples // batch_size)
    last = num_examples - (batches - 1) * batch_size
    epochs_ended = (first_step + steps) // batches - first_step // batches
    return (steps - epochs_ended) * batch_size + epochs_ended * last


def _matrices(model: Model) -> dict[str, ParameterSpec]:
    return {name: spec for name, spec in model.items() if spec.role == "weight" and len(spec.shape) > 1}


def _passes(spec: ParameterSpec) -> int:
    if not spec.trained:
        return 1
    return BACKWARD_AND_FORWARD - (FEATURES in spec.axes)
