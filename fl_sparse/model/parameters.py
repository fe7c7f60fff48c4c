"""What a model is made of: parameters by name, and the axes along which their units can be shared out.

An *axis* is a named set of units. A hidden layer's units are an axis: they index the rows of its own weight and the
columns of the next layer's. A model declares each parameter's axes, whether it is trained, and its role. All other code
reads these declarations and parses no names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

ROLES = ("weight", "gain", "bias")
FEATURES, CLASSES = "features", "classes"
"""The axes of every classifier's inputs and outputs. No method shares them out."""

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter.

    Parameters
    ----------
    shape
        The parameter's shape.
    axes
        For each dimension of `view` the name of its units' axis, or None.
    trained
        Whether local steps change it.
    role
        ``weight`` multiplies values of other units, ``gain`` a unit's own, ``bias`` is added.
    view
        The shape that `axes` refer to, if it is finer than ``shape``: attention's weight of (3·heads·d, D) viewed as
        (3, heads, d, D) has heads as an axis.

    Raises
    ------
    ValueError
        If the axes do not tile the shape, or the role is unknown.
    """

    shape: Shape
    axes: tuple[str | None, ...]
    trained: bool = True
    role: str = "weight"
    view: Shape = ()

    def __post_init__(self) -> None:
        if not self.view:
            object.__setattr__(self, "view", self.shape)
        if len(self.axes) != len(self.view):
            raise ValueError(f"{len(self.axes)} axes for a parameter of {len(self.view)} dimensions")
        if self.role not in ROLES:
            raise ValueError(f"role {self.role!r}; expected one of {', '.join(ROLES)}")
        self.merged(self.view)

    def merged(self, sizes: Shape) -> Shape:
        """Return the parameter's shape if its view has these sizes.

        Raises
        ------
        ValueError
            If consecutive dimensions of the view do not multiply to the dimensions of the shape.
        """
        if self.view == self.shape:
            return sizes
        merged, start = [], 0
        for size in self.shape:
            end = start + 1
            while end <= len(self.view) and math.prod(self.view[start:end]) < size:
                end += 1
            if math.prod(self.view[start:end]) != size:
                raise ValueError(f"a view of {self.view} does not tile the shape {self.shape}")
            merged.append(math.prod(sizes[start:end]))
            start = end
        if start != len(self.view):
            raise ValueError(f"a view of {self.view} does not tile the shape {self.shape}")
        return tuple(merged)


Model = Mapping[str, ParameterSpec]
"""Name -> specification, in the order of the pass forward."""


def shapes_of(model: Model) -> dict[str, Shape]:
    """Return each parameter's shape."""
    return {name: spec.shape for name, spec in model.items()}


def axis_sizes(model: Model) -> dict[str, int]:
    """Return the number of units of each axis.

    Raises
    ------
    ValueError
        If two parameters give an axis different sizes.
    """
    sizes: dict[str, int] = {}
    for name, spec in model.items():
        for axis, size in zip(spec.axes, spec.view, strict=True):
            if axis is not None and sizes.setdefault(axis, size) != size:
                raise ValueError(f"axis {axis!r} has {size} units in {name}, elsewhere {sizes[axis]}")
    return sizes


def axis_name(axis: str) -> str:
    """Return an axis's name in messages: ``hidden.1`` is hidden layer 1."""
    kind, _, number = axis.partition(".")
    return f"{kind} layer {number}" if kind == "hidden" else axis
