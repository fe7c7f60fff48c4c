"""What a model declares: axes that tile each parameter's shape, and have one size each."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.model.mlp import ACTIVATIONS, NORMALIZATIONS, MLPSpec, init_parameters
from fl_sparse.model.parameters import CLASSES, FEATURES, ROLES, ParameterSpec, axis_name, axis_sizes, shapes_of


@settings(max_examples=100, deadline=None)
@given(
    features=st.integers(1, 6),
    widths=st.lists(st.integers(1, 6), max_size=4).map(tuple),
    classes=st.integers(1, 6),
    activation=st.sampled_from(ACTIVATIONS),
    normalization=st.sampled_from(NORMALIZATIONS),
    skip=st.booleans(),
)
def test_the_axes_of_every_mlp_tile_its_parameters(
    features: int, widths: tuple[int, ...], classes: int, activation: str, normalization: str, skip: bool
) -> None:
    spec = MLPSpec(features, widths, classes, activation, normalization, skip)
    model, sizes = spec.model, axis_sizes(spec.model)
    hidden = {f"hidden.{layer}": width for layer, width in enumerate(widths)}
    assert list(spec.shared_axes.items()) == list(hidden.items())
    assert sizes == {FEATURES: features, CLASSES: classes, **hidden}
    for name, parameter in model.items():
        assert tuple(sizes[axis] for axis in parameter.axes) == parameter.view == parameter.shape
        assert parameter.trained == (not name.startswith("skip."))
        assert parameter.role == (
            "weight" if parameter.axes[1:] else "gain" if name.endswith("norm.weight") else "bias"
        )
    trained = {name for name, parameter in model.items() if parameter.trained}
    assert init_parameters(spec, 0).keys() == trained
    assert any(name.startswith("skip.") for name in model) == skip


@st.composite
def tilings(draw) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A shape, and a view of it: each dimension divided into one to three."""
    groups = draw(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=4))
    return tuple(map(math.prod, groups)), tuple(size for group in groups for size in group)


@settings(max_examples=200, deadline=None)
@given(tiling=tilings())
def test_a_view_that_divides_the_dimensions_is_taken(tiling: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    shape, view = tiling
    spec = ParameterSpec(shape, (None,) * len(view), view=view)
    assert spec.view == view
    assert spec.merged(view) == shape
    assert ParameterSpec(shape, (None,) * len(shape)).view == shape


@pytest.mark.parametrize(
    ("shape", "view"),
    [
        ((6, 4), (2, 2, 4)),
        ((6, 4), (2, 3, 2)),
        ((6, 4), (2, 3, 4, 2)),
        ((6, 4), (24,)),
        ((6, 4), (4, 6)),
        ((6, 4), (2, 3)),
        ((6, 4), (3, 4, 2)),
        ((6,), (2, 4)),
        ((6,), (7,)),
        ((2, 1), (2,)),
        ((2, 3), (2, 3, 5)),
    ],
)
def test_a_view_of_another_shape_is_refused(shape: tuple[int, ...], view: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=rf"a view of {view} does not tile the shape {shape}".replace("(", r"\(").replace(")", r"\)")
    ):
        ParameterSpec(shape, (None,) * len(view), view=view)


def test_axes_of_another_number_and_unknown_roles_are_refused() -> None:
    for axes in ((), ("a",), ("a", None, "b")):
        with pytest.raises(ValueError, match=f"{len(axes)} axes for a parameter of 2 dimensions"):
            ParameterSpec((6, 4), axes)
    with pytest.raises(ValueError, match="2 axes for a parameter of 3 dimensions"):
        ParameterSpec((6, 4), ("a", "b"), view=(2, 3, 4))
    with pytest.raises(ValueError, match="role 'wait'; expected one of weight, gain, bias"):
        ParameterSpec((6, 4), (None, None), role="wait")
    assert [ParameterSpec((1,), (None,), role=role).role for role in ROLES] == list(ROLES)


def test_an_axis_of_two_sizes_is_refused() -> None:
    model = {"a": ParameterSpec((2, 3), ("x", "y")), "b": ParameterSpec((3, 6), ("y", "x", None), view=(3, 2, 3))}
    assert axis_sizes(model) == {"x": 2, "y": 3}
    with pytest.raises(ValueError, match="axis 'y' has 4 units in c, elsewhere 3"):
        axis_sizes({**model, "c": ParameterSpec((4,), ("y",))})
    with pytest.raises(ValueError, match="axis 'x' has 2 units in d, elsewhere 3"):
        axis_sizes({"d": ParameterSpec((3, 2), ("x", "x"))})


def test_shapes_and_names() -> None:
    assert shapes_of(MLPSpec(3, (), 2).model) == {"output.weight": (2, 3), "output.bias": (2,)}
    assert axis_name("hidden.1") == "hidden layer 1"
    assert axis_name("features") == "features"
