"""Models of any axes and parameters, parts of them, and values in which a lost bit shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fl_sparse.model.parameters import ROLES, Model, ParameterSpec, Shape, axis_sizes, shapes_of
from fl_sparse.part import Part, PartUpdate

AXES = ("heads", "hidden.0", "features", "classes")
# An attention's weight, its projection, and a matrix whose rows and columns are one axis.
ATTENTION: Model = {
    "qkv": ParameterSpec((18, 4), (None, "heads", None, "features"), view=(3, 3, 2, 4)),
    "proj": ParameterSpec((4, 6), ("features", "heads", None), view=(4, 3, 2)),
    "square": ParameterSpec((3, 3), ("heads", "heads"), trained=False),
    "gain": ParameterSpec((4,), ("features",), role="gain"),
}


@dataclass(frozen=True)
class Whole:
    """A model and its values."""

    model: Model
    values: dict[str, np.ndarray] = field(repr=False)

    @property
    def axes(self) -> dict[str, int]:
        return axis_sizes(self.model)


def random_values(shapes: Mapping[str, Shape], rng: np.random.Generator) -> dict[str, np.ndarray]:
    # Zeros of both signs and numbers of very different size: a bit lost in a sum would show.
    made = {}
    for name, shape in shapes.items():
        values = rng.normal(size=shape) * 10.0 ** rng.integers(-30, 30, shape)
        made[name] = np.where(rng.random(shape) < 0.2, np.copysign(0.0, values), values).astype(np.float32)
    return made


@st.composite
def parameters(draw, sizes: Mapping[str, int]) -> ParameterSpec:
    """One to four dimensions of a shape, each of one to three of the view."""
    axes: list[str | None] = []
    view: list[int] = []
    shape: list[int] = []
    for _ in range(draw(st.integers(1, 4))):
        own = [draw(st.sampled_from([None, *sizes])) for _ in range(draw(st.integers(1, min(3, 5 - len(view)))))]
        lengths = [draw(st.integers(1, 3)) if axis is None else sizes[axis] for axis in own]
        axes += own
        view += lengths
        shape.append(int(np.prod(lengths)))
        if len(view) == 5:
            break
    return ParameterSpec(tuple(shape), tuple(axes), draw(st.booleans()), draw(st.sampled_from(ROLES)), tuple(view))


@st.composite
def wholes(draw) -> Whole:
    names = draw(st.lists(st.sampled_from(AXES), max_size=3, unique=True))
    sizes = {axis: draw(st.integers(1, 4)) for axis in names}
    model = {name: draw(parameters(sizes)) for name in ("a", "b", "c")[: draw(st.integers(1, 3))]}
    model = draw(st.sampled_from([model, model, ATTENTION]))
    return Whole(model, random_values(shapes_of(model), np.random.default_rng(draw(st.integers(0, 9999)))))


@st.composite
def parts_of(draw, whole: Whole, least: int = 0, masked: bool = True) -> Part:
    """Any units of some axes, at least so many of each, and masks of some parameters."""
    units = {}
    for axis, size in whole.axes.items():
        if draw(st.booleans()):
            chosen = draw(st.sets(st.integers(0, size - 1), min_size=min(least, size)))
            units[axis] = np.array(sorted(chosen), dtype=np.int64)
    part = Part(units)
    masks = {}
    for name, spec in whole.model.items():
        if masked and draw(st.booleans()):
            masks[name] = draw(arrays(np.bool_, part.of(spec).shape))
    return Part(units, masks)


@st.composite
def updates_of(draw, whole: Whole, most: int = 4) -> list[PartUpdate]:
    pool = draw(st.lists(parts_of(whole), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    updates = []
    for part in draw(st.lists(st.sampled_from(pool), max_size=most)):
        held = random_values(shapes_of(part.model(whole.model)), rng)
        updates.append(PartUpdate(part, held, float(rng.integers(1, 1000)) / rng.choice([1, 3])))
    return updates
