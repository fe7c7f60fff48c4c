"""The classifier: a multilayer perceptron as a mapping of names to float32 arrays.

Symbols: F input features, H_l units of hidden layer l (l counts from 0, H_{-1} = F), L hidden layers, C classes.

=========================== ===============  ==========================================
name                        shape            what
=========================== ===============  ==========================================
``hidden.{l}.weight``       (H_l, H_{l-1})
``hidden.{l}.bias``         (H_l,)
``hidden.{l}.norm.weight``  (H_l,)           only with normalization ``layer``
``hidden.{l}.norm.bias``    (H_l,)           only with normalization ``layer``
``output.weight``           (C, H_{L-1})
``output.bias``             (C,)
``skip.weight``             (C, F)           optional; never trained, whole in every subnet
``skip.bias``               (C,)             optional; never trained, whole in every subnet
=========================== ===============  ==========================================

A hidden layer computes z = c · W h + b, then LayerNorm over the units present (if chosen), then the activation. The
logits are c · W h + b of the last hidden layer's units, plus x · skip.weightᵀ + skip.bias if there is a skip term.
The factors c belong to a subnet (`fl_sparse.part.subnet_scales`); the whole model has c = 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.errors import InputError, nearest
from fl_sparse.rng import Purpose, generator

ACTIVATIONS = ("relu", "gelu")
NORMALIZATIONS = ("none", "layer")
SKIP_NAMES = ("skip.weight", "skip.bias")


@dataclass(frozen=True)
class MLPSpec:
    """An MLP's sizes and functions.

    Parameters
    ----------
    in_features
        F.
    hidden_widths
        H_0, H_1, ...; none make a linear classifier.
    num_classes
        C.
    activation
        ``relu``, or ``gelu`` in its tanh form (Hendrycks and Gimpel, arXiv 1606.08415, section 2).
    normalization
        ``none``, or ``layer``: LayerNorm over the units present, without running statistics (arXiv 1607.06450).

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
        depth = sum(name.startswith("hidden.") and name.endswith(".bias") and ".norm." not in name for name in shapes)
        weights = [*(f"hidden.{layer}.weight" for layer in range(depth)), "output.weight"]
        for name in weights:
            if len(shapes.get(name, ())) != 2:
                raise InputError(f"the MLP's weights lack matrix {name!r}")
        sizes = tuple(shapes[name][0] for name in weights)
        spec = cls(shapes[weights[0]][1], sizes[:-1], sizes[-1], activation, normalization)
        check_shapes(spec, shapes)
        return spec


def parameter_shapes(spec: MLPSpec) -> dict[str, tuple[int, ...]]:
    """Return the shape of each trained parameter, in the order of the pass forward."""
    shapes: dict[str, tuple[int, ...]] = {}
    inputs = spec.in_features
    for layer, width in enumerate(spec.hidden_widths):
        shapes[f"hidden.{layer}.weight"] = (width, inputs)
        shapes[f"hidden.{layer}.bias"] = (width,)
        if spec.normalization == "layer":
            shapes[f"hidden.{layer}.norm.weight"] = (width,)
            shapes[f"hidden.{layer}.norm.bias"] = (width,)
        inputs = width
    shapes["output.weight"] = (spec.num_classes, inputs)
    shapes["output.bias"] = (spec.num_classes,)
    return shapes


def check_shapes(spec: MLPSpec, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Compare the shapes of a model's tensors with a specification; both tensors of the skip term may be there or not.

    Raises
    ------
    InputError
        Naming the first tensor that is missing, unexpected, or of another shape.
    """
    expected = parameter_shapes(spec)
    if any(name in shapes for name in SKIP_NAMES):
        expected |= {"skip.weight": (spec.num_classes, spec.in_features), "skip.bias": (spec.num_classes,)}
    for name in expected:
        if name not in shapes:
            raise InputError(f"the MLP's weights lack tensor {name!r}")
    for name, shape in shapes.items():
        if name not in expected:
            raise InputError(f"unexpected tensor {name!r} among the MLP's weights{nearest(name, expected)}")
        if shape != expected[name]:
            raise InputError(f"tensor {name!r} of the MLP has shape {shape}; expected {expected[name]}")


def init_parameters(spec: MLPSpec, seed: int) -> dict[str, NDArray[np.float32]]:
    """Draw initial parameters: weights and biases uniform in ±1/√inputs, LayerNorm's weights 1 and biases 0.

    References
    ----------
    ``torch.nn.Linear.reset_parameters``, whose law this is (drawn by NumPy).
    """
    rng = generator(Purpose.INITIALIZATION, seed)
    parameters: dict[str, NDArray[np.float32]] = {}
    bound = 1.0
    for name, shape in parameter_shapes(spec).items():
        if ".norm." in name:
            parameters[name] = np.full(shape, 1.0 if name.endswith(".weight") else 0.0, dtype=np.float32)
            continue
        if len(shape) == 2:
            bound = 1.0 / math.sqrt(shape[1])
        parameters[name] = rng.uniform(-bound, bound, size=shape).astype(np.float32)
    return parameters


def predict(
    parameters: Mapping[str, Any],
    spec: MLPSpec,
    features: Any,
    scales: Sequence[float] | None = None,
    *,
    batch_size: int = 1024,
) -> Any:
    """Return logits float32 (n, C), an array of the same kind as the features.

    Parameters
    ----------
    parameters
        One model's parameters: NumPy arrays, or tensors on the features' device.
    spec
        Its sizes and functions.
    features
        float32 (n, F), NumPy or torch.
    scales
        One factor c a layer, the output's last; None means 1 everywhere, which is the global model's use.
    batch_size
        Rows of one pass: few enough for hidden layers to stay in the processor's cache.
    """
    # The pass forward is written once, in the training package, which imports this module.
    from fl_sparse.learn.array_ops import ops_of
    from fl_sparse.learn.mlp_stack.network import StackedMLP

    ops = ops_of(features)
    stacked = {name: values[None] for name, values in ops.as_arrays(parameters).items()}
    factors = (1.0,) * (len(spec.hidden_widths) + 1) if scales is None else tuple(scales)
    network = StackedMLP(ops, spec, stacked, factors, min(batch_size, len(features)), training=False)
    logits = ops.empty((len(features), spec.num_classes))
    for start in range(0, len(features), batch_size):
        rows = slice(start, min(start + batch_size, len(features)))
        logits[rows] = network.forward(features[rows][None])[0]
    return logits
