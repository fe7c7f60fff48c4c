"""What a client's share of a round asks of it: weights to hold, weights that a step uses, and FLOPs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from fl_sparse.model.flops import Shapes, flops_by_layer


@dataclass(frozen=True)
class Workload:
    """One client's work in a round.

    Parameters
    ----------
    weights_held
        Parameters that the client receives and keeps during the round, biases and the skip term included.
    weights_active
        Those that take part in a local step: all, or under ordered dropout the mean over the prefixes that a step
        draws from.
    flops
        Layer -> FLOPs of all local steps; under ordered dropout the same mean.
    """

    weights_held: int
    weights_active: float
    flops: dict[str, float] = field(repr=False)

    @property
    def total_flops(self) -> float:
        """FLOPs of all layers."""
        return sum(self.flops.values())


def workload(
    shapes: Shapes, examples: int, prefixes: Sequence[Sequence[int]] = (), *, self_distillation: bool = False
) -> Workload:
    """Return the work of training a model of these shapes.

    Parameters
    ----------
    shapes
        Name -> shape of what the client receives.
    examples
        Rows that its local steps read.
    prefixes
        Ordered dropout: widths of the hidden layers, of which each step draws one uniformly; none means that all steps
        train all. Counted are the products of units that take part, which is what a step of the cut-out model takes.
    self_distillation
        Ordered dropout: whether each step also passes its rows through all that the client holds.
    """
    held = _parameters(shapes)
    whole = flops_by_layer(shapes, examples)
    if not prefixes:
        return Workload(held, float(held), {layer: float(flops) for layer, flops in whole.items()})
    cut = [prefix_shapes(shapes, widths) for widths in prefixes]
    counted = [flops_by_layer(part, examples) for part in cut]
    flops = {layer: sum(part[layer] for part in counted) / len(cut) for layer in whole}
    if not self_distillation:
        return Workload(held, sum(map(_parameters, cut)) / len(cut), flops)
    return Workload(held, float(held), {layer: whole[layer] + flops[layer] for layer in whole})


def prefix_shapes(shapes: Shapes, widths: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return the shapes that are left of an MLP with the first units of each hidden layer alone."""
    left = {}
    for name, shape in shapes.items():
        kind, _, rest = name.partition(".")
        if kind == "hidden":
            layer = int(rest.partition(".")[0])
            sizes = (widths[layer], widths[layer - 1] if layer else shape[-1])
            left[name] = sizes[: len(shape)]
        elif name == "output.weight":
            left[name] = (shape[0], widths[-1] if widths else shape[1])
        else:
            left[name] = shape
    return left


def _parameters(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes.values())
