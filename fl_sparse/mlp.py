"""The classifier: shapes, names, initial weights, forward pass. Symbols: H_l units of hidden layer l, C classes.

Parameters are a mapping of names to float32 arrays: ``hidden.{l}.weight`` (H_l, H_{l-1}), ``hidden.{l}.bias`` (H_l,),
with LayerNorm also ``hidden.{l}.norm.weight`` and ``hidden.{l}.norm.bias`` (H_l,), then ``output.weight`` (C, H_L) and
``output.bias`` (C,); l counts from 0 and H_{-1} is the number of features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.draws import Purpose, generator

NORM_EPSILON = 1e-5
GELU_SLOPE = math.sqrt(2.0 / math.pi)
GELU_CUBIC = 0.044715


@dataclass(frozen=True)
class MLPSpec:
    """An MLP's sizes and functions. A hidden layer computes activation(norm(c·W·h + b))."""

    in_features: int
    hidden_widths: tuple[int, ...]
    num_classes: int
    activation: str = "relu"
    """``relu``, or ``gelu`` in its tanh form (Hendrycks and Gimpel, arXiv 1606.08415, §2)."""
    normalization: str = "none"
    """``none``, or ``layer``: LayerNorm over the units present, without running statistics."""

    @classmethod
    def of_parameters(cls, parameters: Mapping[str, Any], *, activation: str, normalization: str) -> MLPSpec:
        """Read the sizes off the parameters' shapes."""
        layers = sum(1 for name in parameters if name.startswith("hidden.") and name.count(".") == 2) // 2
        widths = tuple(parameters[f"hidden.{layer}.weight"].shape[-2] for layer in range(layers))
        features = parameters["hidden.0.weight" if layers else "output.weight"].shape[-1]
        return cls(features, widths, parameters["output.weight"].shape[-2], activation, normalization)


def parameter_shapes(spec: MLPSpec) -> dict[str, tuple[int, ...]]:
    """Return each parameter's shape, in the order of the forward pass."""
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


def init_parameters(spec: MLPSpec, seed: int) -> dict[str, NDArray[np.float32]]:
    """Draw initial parameters: weights and biases uniform in ±1/√(inputs), as ``torch.nn.Linear`` does; norms 1 and 0."""
    rng = generator(Purpose.INITIALIZATION, seed)
    parameters: dict[str, NDArray[np.float32]] = {}
    inputs = spec.in_features
    for name, shape in parameter_shapes(spec).items():
        if ".norm." in name:
            parameters[name] = np.full(shape, 1.0 if name.endswith("weight") else 0.0, dtype=np.float32)
            continue
        inputs = shape[1] if len(shape) == 2 else inputs
        bound = 1.0 / math.sqrt(inputs)
        parameters[name] = rng.uniform(-bound, bound, size=shape).astype(np.float32)
    return parameters


def predict(
    parameters: Mapping[str, NDArray[np.float32]],
    spec: MLPSpec,
    features: NDArray[np.float32],
    scales: Sequence[float] | None = None,
) -> NDArray[np.float32]:
    """Return logits float32 (B, C) of features float32 (B, F).

    ``scales`` holds one factor a layer, the output's last; None means 1 everywhere, which is the global model's use.
    """
    factors = scales if scales is not None else (1.0,) * (len(spec.hidden_widths) + 1)
    hidden = np.asarray(features, dtype=np.float32)
    for layer in range(len(spec.hidden_widths)):
        name = f"hidden.{layer}"
        outcome = hidden @ parameters[f"{name}.weight"].T
        if factors[layer] != 1.0:
            outcome *= np.float32(factors[layer])
        outcome += parameters[f"{name}.bias"]
        if spec.normalization == "layer":
            outcome -= outcome.mean(axis=1, keepdims=True)
            outcome /= np.sqrt(np.square(outcome).mean(axis=1, keepdims=True) + np.float32(NORM_EPSILON))
            outcome = outcome * parameters[f"{name}.norm.weight"] + parameters[f"{name}.norm.bias"]
        hidden = np.maximum(outcome, 0) if spec.activation == "relu" else _gelu(outcome)
    logits = hidden @ parameters["output.weight"].T
    if factors[-1] != 1.0:
        logits *= np.float32(factors[-1])
    logits += parameters["output.bias"]
    return logits  # type: ignore[no-any-return]


def _gelu(values: NDArray[np.float32]) -> NDArray[np.float32]:
    inner = np.float32(GELU_SLOPE) * (values + np.float32(GELU_CUBIC) * values * values * values)
    return np.float32(0.5) * values * (1 + np.tanh(inner))  # type: ignore[no-any-return]
