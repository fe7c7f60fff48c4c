"""Floating-point operations of training, counted from shapes."""

from __future__ import annotations

from collections.abc import Mapping


def training_flops(shapes: Mapping[str, tuple[int, ...]], examples: int) -> float:
    """Return the FLOPs of one forward and backward pass over ``examples`` rows.

    A matrix product of b rows with an (out × in) weight costs 2·b·out·in; a pass needs it three times (outputs,
    weight gradients, input gradients), the first layer twice, since no gradient of the features is taken. Element-wise
    work is left out, as PyTorch's FLOP counter leaves it out.
    """
    total = 0.0
    for name, shape in shapes.items():
        if len(shape) == 2 and name.endswith(".weight") and not name.startswith("skip."):
            passes = 2 if name == "hidden.0.weight" else 3
            total += passes * 2.0 * examples * shape[0] * shape[1]
        elif name == "skip.weight":
            total += 2.0 * examples * shape[0] * shape[1]
    return total


def examples_trained(num_examples: int, batch_size: int, *, first_step: int, steps: int) -> int:
    """Return how many rows a client's local steps read: whole batches, and the short last one of each epoch."""
    batches = -(-num_examples // batch_size)
    last = num_examples - (batches - 1) * batch_size
    epochs_ended = (first_step + steps) // batches - first_step // batches
    return (steps - epochs_ended) * batch_size + epochs_ended * last
