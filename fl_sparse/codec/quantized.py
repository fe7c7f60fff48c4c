"""int8 with one scale a row: q = round(x / s), with s = max|x| / 127, and x̂ = q s; the error is at most s / 2.

References
----------
B. Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, CVPR
2018, section 2.1, here without a zero point.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.codec.codec import Arrays, Layout, Values
from fl_sparse.model.parameters import Shapes

SCALE = ".scale"
"""The suffix of a parameter's name that makes the name of its scales."""
LARGEST_CODE = 127
SMALLEST_SCALE = np.finfo(np.float32).tiny
"""A row of a smaller scale, at most 1.5e-36 everywhere, becomes zero: the scale would be rounded coarsely."""


class Int8:
    """Values in a quarter of the bits; a row with a value that is not finite is refused when it is decoded."""

    exact = False

    def encode(self, parameters: Mapping[str, Values]) -> dict[str, NDArray[Any]]:
        """Return each parameter's codes and its rows' scales."""
        arrays: dict[str, NDArray[Any]] = {}
        for name, values in parameters.items():
            arrays[name], arrays[name + SCALE] = to_int8(values)
        return arrays

    def decode(self, arrays: Arrays) -> dict[str, Values]:
        """Return codes times scales.

        Raises
        ------
        ValueError
            For arrays that `encode` never makes: a scale that is negative or not finite, or the code -128.
        """
        parameters: dict[str, Values] = {}
        for name, codes in arrays.items():
            if codes.dtype == np.int8:
                scales = arrays[name + SCALE]
                if not (np.isfinite(scales).all() and (scales >= 0).all()):
                    raise ValueError(f"{name + SCALE} holds values that are negative or not finite")
                if (codes < -LARGEST_CODE).any():
                    raise ValueError(f"{name} holds the code {codes.min()}; expected {-LARGEST_CODE} to {LARGEST_CODE}")
                parameters[name] = from_int8(codes, scales)
        return parameters

    def layout(self, shapes: Shapes) -> Layout:
        """Return int8 codes of the parameters' shapes, and float32 scales of their rows."""
        codes = {name: (np.dtype(np.int8), shape) for name, shape in shapes.items()}
        scales = {name + SCALE: (np.dtype(np.float32), (_rows(shape),)) for name, shape in shapes.items()}
        return codes | scales


def to_int8(values: Values) -> tuple[NDArray[np.int8], Values]:
    """Return the codes of values, int8 of their shape, and one scale a row, float32 (rows,); a vector is one row.

    A row that is zero (or below 127 · 2⁻¹²⁶) everywhere has scale 0; a row with a value that is not finite, scale NaN.
    """
    rows = values.reshape(_rows(values.shape), -1)
    largest = np.abs(rows).max(axis=1, initial=0.0)
    scales = (largest / np.float32(LARGEST_CODE)).astype(np.float32)
    finite = np.isfinite(scales)
    usable = finite & (scales >= SMALLEST_SCALE)
    safe = np.where(usable, scales, np.float32(1.0))[:, None]
    quotients = np.where(usable[:, None], rows, np.float32(0.0)) / safe
    # A quotient exceeds 127 by a rounding at most, so every code fits int8.
    codes = np.rint(quotients).astype(np.int8).reshape(values.shape)
    kept = np.where(usable, scales, np.where(finite, 0.0, np.nan)).astype(np.float32)
    return codes, kept


def from_int8(codes: NDArray[np.int8], scales: Values) -> Values:
    """Return codes times their rows' scales, float32."""
    rows = codes.reshape(_rows(codes.shape), -1).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # a value that is not finite is for the reader to refuse
        return np.multiply(rows, scales[:, None], dtype=np.float32).reshape(codes.shape)


def _rows(shape: tuple[int, ...]) -> int:
    return shape[0] if len(shape) > 1 else 1
