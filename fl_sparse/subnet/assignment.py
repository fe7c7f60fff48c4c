"""Which units of each hidden layer a subnet holds, and the scales of its forward pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class SubnetAssignment:
    """Sorted unit indices int64 (|I_l|,) of each hidden layer; inputs and outputs are always whole."""

    units: tuple[NDArray[np.int64], ...]

    def index(self, name: str) -> tuple[NDArray[np.int64] | None, ...]:
        """Return a parameter's indices along each axis, None where the axis is whole.

        A weight belongs to (output part × input part), a hidden bias or normalisation parameter to its units; the
        output bias is whole in every subnet.
        """
        if name == "output.weight":
            return (None, self.units[-1] if self.units else None)
        if name.startswith("hidden."):
            layer = int(name.split(".")[1])
            if name == f"hidden.{layer}.weight":
                return (self.units[layer], self.units[layer - 1] if layer else None)
            return (self.units[layer],)
        return (None,)


def subnet_scales(assignment: SubnetAssignment, widths: Sequence[int], rule: str) -> tuple[float, ...]:
    """Return c_l of each hidden layer and of the output: z = c·W·h + b.

    The first layer sees all its inputs: c = 1. Elsewhere c = H_{l-1}/|I_{l-1}| under ``mean``, its square root under
    ``sqrt``, 1 under ``none``.

    Under ``mean``, for fixed inputs from the layer before and without LayerNorm, the average over the parts of a
    partition of a unit's pre-activation equals the whole's: Σ_s (|I^s|/H)·(H/|I^s|)·Σ_{i∈I^s} W_i h_i = Σ_i W_i h_i.
    Parts weigh |I^s|/H each, which is the plain average 1/S when their sizes are equal.
    """
    power = {"mean": 1.0, "sqrt": 0.5, "none": 0.0}[rule]
    shares = [width / len(part) for width, part in zip(widths, assignment.units, strict=True)]
    return (1.0, *(1.0 if power == 0.0 else math.pow(share, power) for share in shares))
