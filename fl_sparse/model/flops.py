"""Floating-point operations of training by layer, counted from shapes."""

from __future__ import annotations

from collections.abc import Mapping

Shapes = Mapping[str, tuple[int, ...]]


def flops_by_layer(shapes: Shapes, examples: int) -> dict[str, int]:
    """Return the FLOPs of one forward and backward pass over ``examples`` rows: ``hidden.0``, …, ``output``, ``skip``.

    A matrix product of b rows with an (out × in) weight costs 2·b·out·in; a pass needs it three times (outputs, weight
    gradients, input gradients), the layer that reads the features twice, since no gradient of the features is taken,
    and the skip term once, since it is never trained. Element-wise work (biases, activations, LayerNorm, the loss, the
    proximal term, the optimiser) is left out, as PyTorch's ``torch.utils.flop_counter`` leaves it out.

    Parameters
    ----------
    shapes
        Name -> shape of an MLP's parameters, as in `fl_sparse.model.mlp`.
    examples
        Rows of all steps together.
    """
    first = "hidden.0" if "hidden.0.weight" in shapes else "output"
    flops = {}
    for name, shape in shapes.items():
        layer, _, kind = name.rpartition(".")
        if kind == "weight" and not layer.endswith(".norm"):
            passes = {first: 2, "skip": 1}.get(layer, 3)
            flops[layer] = passes * 2 * examples * shape[0] * shape[1]
    return flops


def examples_trained(num_examples: int, batch_size: int, *, first_step: int, steps: int) -> int:
    """Return how many rows a client's local steps read: whole batches, and the short last one of each epoch."""
    batches = -(-num_examples // batch_size)
    last = num_examples - (batches - 1) * batch_size
    epochs_ended = (first_step + steps) // batches - first_step // batches
    return (steps - epochs_ended) * batch_size + epochs_ended * last


def forward_flops(shapes: Shapes, examples: int) -> float:
    """Return the FLOPs of a forward pass over ``examples`` rows: one product a weight matrix, as above."""
    return sum(
        2.0 * examples * shape[0] * shape[1]
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) == 2
    )
