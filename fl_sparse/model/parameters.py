"""What a model is made of: parameters by name, and the axes along which their units can be shared out.

An *axis* is a named set of units. A hidden layer's units are an axis: they index the rows of its own weight and the
columns of the next layer's. A model declares each parameter's axes, whether it is trained, and its role. All other code
reads these declarations and parses no names.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

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
        The shape under which `axes` count, if it is finer than ``shape``: attention's weight of (3·heads·d, D) as
        (3, heads, d, D), so that heads are an axis.
    tiles
        How many dimensions of the view each of the shape's is. Given by a part that has no unit or one left of some:
        its sizes alone do not tell.

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
    tiles: Shape = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.view:
            object.__setattr__(self, "view", self.shape)
        if len(self.axes) != len(self.view):
            raise ValueError(f"{len(self.axes)} axes for a parameter of {len(self.view)} dimensions")
        if self.role not in ROLES:
            raise ValueError(f"role {self.role!r}; expected one of {', '.join(ROLES)}")
        if not self.tiles:
            object.__setattr__(self, "tiles", tiles_of(self.view, self.shape))

    def merged(self, sizes: Shape) -> Shape:
        """Return the shape of the parameter when its view has these sizes."""
        ends = itertools.accumulate(self.tiles)
        return tuple(math.prod(sizes[end - count : end]) for count, end in zip(self.tiles, ends, strict=True))


def tiles_of(view: Shape, shape: Shape) -> Shape:
    """Return how many consecutive dimensions of a view multiply to each of a shape; the last takes the rest.

    Raises
    ------
    ValueError
        If they do not.
    """
    if view == shape:
        return (1,) * len(shape)
    tiles, start = [], 0
    for number, size in enumerate(shape):
        end = len(view) if number == len(shape) - 1 else start + 1
        while end < len(view) and math.prod(view[start:end]) < size:
            end += 1
        if start >= len(view) or math.prod(view[start:end]) != size:
            break
        tiles.append(end - start)
        start = end
    if len(tiles) != len(shape) or start != len(view):
        raise ValueError(f"a view of {view} does not tile the shape {shape}")
    return tuple(tiles)


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
