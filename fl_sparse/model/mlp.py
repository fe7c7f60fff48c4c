"""The classifier: a multilayer perceptron as a mapping of names to float32 arrays.

Symbols: F input features, H_l units of hidden layer l (l counts from 0, H_{-1} = F), L hidden layers, C classes.

=========================== ===============  ==============================  ==============================
name                        shape            axes                            what
=========================== ===============  ==============================  ==============================
``hidden.{l}.weight``       (H_l, H_{l-1})   ``hidden.{l}, hidden.{l-1}``    ``features`` before the first
``hidden.{l}.bias``         (H_l,)           ``hidden.{l}``
``hidden.{l}.norm.weight``  (H_l,)           ``hidden.{l}``                  with normalization ``layer``
``hidden.{l}.norm.bias``    (H_l,)           ``hidden.{l}``                  with normalization ``layer``
``output.weight``           (C, H_{L-1})     ``classes, hidden.{L-1}``
``output.bias``             (C,)             ``classes``
``skip.weight``             (C, F)           ``classes, features``           optional; never trained
``skip.bias``               (C,)             ``classes``                     optional; never trained
=========================== ===============  ==============================  ==============================

A hidden layer computes z = c · W h + b, then LayerNorm over the units present (if chosen), then the activation. The
logits are c · W h + b of the last hidden layer's units, plus x · skip.weightᵀ + skip.bias if there is a skip term.
The factors c belong to a part (`layer_scales`); the whole model has c = 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fl_sparse.errors import InputError, nearest
from fl_sparse.model.parameters import CLASSES, FEATURES, Model, ParameterSpec, Shapes
from fl_sparse.rng import Purpose, generator

ACTIVATIONS = ("relu", "gelu")
NORMALIZATIONS = ("none", "layer")
SCALE_RULES = ("mean", "sqrt", "none")


class LayerNames(NamedTuple):
    """The names of a layer's parameters."""

    weight: str
    bias: str
    gain: str
    shift: str

    @classmethod
    def of(cls, layer: str) -> LayerNames:
        """Return the names of ``hidden.0``, ``output`` and so on."""
        return cls(f"{layer}.weight", f"{layer}.bias", f"{layer}.norm.weight", f"{layer}.norm.bias")


OUTPUT, SKIP = LayerNames.of("output"), LayerNames.of("skip")


@dataclass(frozen=True)
class MLPSpec:
    """An MLP's sizes and functions.

    Parameters
    ----------
    in_features
        F.
    hidden_widths
        H_0, H_1, ...; () is a linear classifier.
    num_classes
        C.
    activation
        ``relu``, or ``gelu`` in its tanh form (Hendrycks and Gimpel, arXiv 1606.08415, section 2).
    normalization
        ``none``, or ``layer``: LayerNorm over the units present, without running statistics (arXiv 1607.06450).
    skip
        Whether there is a fixed linear term beside the MLP.

    Raises
    ------
    InputError
        For a size below 1 or an unknown activation or normalization.
    """

    in_features: int
    hidden_widths: tuple[int, ...]
    num_classes: int
    activation: str = "relu"
    normalization: str = "none"
    skip: bool = False

    def __post_init__(self) -> None:
        sizes = (self.in_features, *self.hidden_widths, self.num_classes)
        if min(sizes) < 1:
            raise InputError(f"MLP sizes {sizes}: each must be at least 1")
        if self.activation not in ACTIVATIONS:
            raise InputError(f"unknown activation {self.activation!r}{nearest(self.activation, ACTIVATIONS)}")
        if self.normalization not in NORMALIZATIONS:
            raise InputError(
                f"unknown normalization {self.normalization!r}{nearest(self.normalization, NORMALIZATIONS)}"
            )

    @classmethod
    def of_parameters(
        cls, parameters: Mapping[str, Any], *, activation: str = "relu", normalization: str = "none"
    ) -> MLPSpec:
        """Read the sizes off one model's parameters.

        Raises
        ------
        InputError
            If a tensor is missing, unexpected, or of a shape that does not fit the others.
        """
        shapes = {name: tuple(int(size) for size in values.shape) for name, values in parameters.items()}
        depth = 0
        while hidden_layer(depth).bias in shapes:
            depth += 1
        weights = [*(hidden_layer(layer).weight for layer in range(depth)), OUTPUT.weight]
        for name in weights:
            if len(shapes.get(name, ())) != 2:
                raise InputError(f"the MLP's weights lack matrix {name!r}")
        sizes = tuple(shapes[name][0] for name in weights)
        skip = SKIP.weight in shapes or SKIP.bias in shapes
        spec = cls(shapes[weights[0]][1], sizes[:-1], sizes[-1], activation, normalization, skip)
        check_shapes(spec, shapes)
        return spec

    @property
    def layers(self) -> list[LayerNames]:
        """The names of each layer's parameters, the output's last."""
        return [*(hidden_layer(layer) for layer in range(len(self.hidden_widths))), OUTPUT]

    @property
    def shared_axes(self) -> dict[str, int]:
        """Axis -> number of units, for the axes that methods share out, in the order of the layers."""
        return hidden_axes(self.hidden_widths)

    @property
    def model(self) -> Model:
        """The MLP's parameters."""
        model: dict[str, ParameterSpec] = {}
        inputs, above = self.in_features, FEATURES
        for names, (axis, width) in zip(self.layers, self.shared_axes.items(), strict=False):
            model[names.weight] = ParameterSpec((width, inputs), (axis, above))
            model[names.bias] = ParameterSpec((width,), (axis,), role="bias")
            if self.normalization == "layer":
                model[names.gain] = ParameterSpec((width,), (axis,), role="gain")
                model[names.shift] = ParameterSpec((width,), (axis,), role="bias")
            inputs, above = width, axis
        classes = self.num_classes
        model[OUTPUT.weight] = ParameterSpec((classes, inputs), (CLASSES, above))
        model[OUTPUT.bias] = ParameterSpec((classes,), (CLASSES,), role="bias")
        if self.skip:
            model[SKIP.weight] = ParameterSpec((classes, self.in_features), (CLASSES, FEATURES), trained=False)
            model[SKIP.bias] = ParameterSpec((classes,), (CLASSES,), trained=False, role="bias")
        return model


def hidden_layer(layer: int) -> LayerNames:
    """Return the names of a hidden layer's parameters."""
    return LayerNames.of(f"hidden.{layer}")


def hidden_axes(widths: Sequence[int]) -> dict[str, int]:
    """Return the axis of each hidden layer, and its number of units."""
    return {f"hidden.{layer}": width for layer, width in enumerate(widths)}


def check_shapes(spec: MLPSpec, shapes: Shapes) -> None:
    """Compare the shapes of a model's tensors with a specification.

    Raises
    ------
    InputError
        Naming the first tensor that is missing, unexpected, or of another shape.
    """
    model = spec.model
    for name in model:
        if name not in shapes:
            raise InputError(f"the MLP's weights lack tensor {name!r}")
    for name, shape in shapes.items():
        if name not in model:
            raise InputError(f"unexpected tensor {name!r} among the MLP's weights{nearest(name, model)}")
        if shape != model[name].shape:
            raise InputError(f"tensor {name!r} of the MLP has shape {shape}; expected {model[name].shape}")


def init_parameters(spec: MLPSpec, seed: int) -> dict[str, NDArray[np.float32]]:
    """Return initial parameters: weights and biases uniform in ±1/√inputs, LayerNorm's weights 1 and biases 0.

    References
    ----------
    ``torch.nn.Linear.reset_parameters``: the same distribution, drawn by NumPy.
    """
    rng = generator(Purpose.INITIALIZATION, seed)
    parameters: dict[str, NDArray[np.float32]] = {}
    model = spec.model
    for names in spec.layers:
        bound = 1.0 / math.sqrt(model[names.weight].shape[1])
        for name in (names.weight, names.bias):
            parameters[name] = rng.uniform(-bound, bound, size=model[name].shape).astype(np.float32)
        for name, value in ((names.gain, 1.0), (names.shift, 0.0)):
            if name in model:
                parameters[name] = np.full(model[name].shape, value, dtype=np.float32)
    return parameters


def layer_scales(held: Sequence[int], widths: Sequence[int], rule: str) -> tuple[float, ...]:
    """Return the factors c_l of a part's hidden layers and of its output, z = c · W h + b.

    Parameters
    ----------
    held
        |I_l|, the part's units of each hidden layer.
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
    ``mean`` preserves a unit's pre-activation on average, for fixed inputs h and without LayerNorm. Let it be
    z = Σ_i w_i h_i + b in the whole and z_s = (H/|I^s|) Σ_{i∈I^s} w_i h_i + b in part s of a partition of the inputs.
    Then Σ_s (|I^s|/H) z_s = z exactly: weighed by the parts' shares of the units, the average is the whole's. The plain
    average 1/S Σ_s z_s equals z if all parts are of one size, and differs in general otherwise. ``sqrt`` preserves the
    variance of a sum of independent terms instead of its mean.
    """
    if rule not in SCALE_RULES:
        raise InputError(f"unknown scale {rule!r}{nearest(rule, SCALE_RULES)}")
    if rule == "none":
        return (1.0,) * (len(widths) + 1)
    ratios = [width / units for width, units in zip(widths, held, strict=True)]
    return (1.0, *(ratios if rule == "mean" else map(math.sqrt, ratios)))
