"""Which hidden units of the MLP a subnet holds, and by what factors its layers are scaled.

Symbols: H_l units of hidden layer l (l counts from 0), I_l^s those of subnet s, L hidden layers, S subnets.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fl_sparse.errors import InputError, nearest

SCALE_RULES = ("mean", "sqrt", "none")

Units = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SubnetAssignment:
    """The units that a subnet holds of each hidden layer; inputs and outputs are always whole.

    Parameters
    ----------
    units
        For each hidden layer the distinct unit numbers I_l, int64 (|I_l|,), sorted, at least one.

    Raises
    ------
    ValueError
        If a layer's units are none, negative, repeated or not sorted.
    """

    units: tuple[Units, ...] = field(repr=False)

    def __post_init__(self) -> None:
        for layer, units in enumerate(self.units):
            if units.ndim != 1 or not len(units) or units[0] < 0 or not (np.diff(units) > 0).all():
                raise ValueError(f"the units of hidden layer {layer} must be distinct, sorted and at least one")

    def digest(self) -> bytes:
        """Return 16 bytes that tell assignments of other units apart."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> bytes:
        layers = b"".join(len(units).to_bytes(8, "little") + units.astype("<i8").tobytes() for units in self.units)
        return hashlib.blake2b(layers, digest_size=16).digest()

    def index(self, name: str) -> tuple[Units | None, ...]:
        """Return a parameter's indices along each axis, None where the axis is whole.

        A hidden weight belongs to (output units × input units), a hidden bias or normalisation parameter to its units,
        the output's weight to its input units. The output's bias and the skip term are whole in every subnet.
        """
        kind, *rest = name.split(".")
        if kind == "hidden":
            layer = int(rest[0])
            if rest[1:] == ["weight"]:
                return (self.units[layer], self.units[layer - 1] if layer else None)
            return (self.units[layer],)
        if name == "output.weight":
            return (None, self.units[-1] if self.units else None)
        return (None, None) if name.endswith(".weight") else (None,)


def subnet_scales(assignment: SubnetAssignment, widths: Sequence[int], rule: str) -> tuple[float, ...]:
    """Return the factors c_l of a subnet's hidden layers and of its output, z = c · W h + b.

    Parameters
    ----------
    assignment
        The subnet's units.
    widths
        H_l of the whole model.
    rule
        ``mean``: c_l = H_{l-1}/|I_{l-1}|; ``sqrt``: its square root; ``none``: 1. The first layer sees all its inputs
        and has c = 1 under every rule.

    Returns
    -------
    tuple of float
        L + 1 factors, the output's last.

    Raises
    ------
    InputError
        For an unknown rule.

    Notes
    -----
    What ``mean`` keeps, for fixed inputs h from the layer before and without LayerNorm: let z = Σ_i w_i h_i + b be
    the whole's pre-activation of a unit, and z_s = (H/|I^s|) Σ_{i∈I^s} w_i h_i + b that in part s of a partition of
    the inputs. Then Σ_s (|I^s|/H) z_s = z exactly: the average over the parts, each weighed by its share of the
    units, is the whole's. The plain average 1/S Σ_s z_s is the whole's if all parts are of one size; if not, it
    differs in general. ``sqrt`` keeps the variance of a sum of independent terms instead of its mean.
    """
    if rule not in SCALE_RULES:
        raise InputError(f"unknown scale {rule!r}{nearest(rule, SCALE_RULES)}")
    if rule == "none":
        return (1.0,) * (len(widths) + 1)
    ratios = [width / len(units) for width, units in zip(widths, assignment.units, strict=True)]
    return (1.0, *(ratios if rule == "mean" else map(math.sqrt, ratios)))
