"""Fewer bits a value: bfloat16, and int8 with one scale a row.

Symbols: x a row of a matrix (a vector is one row), q its codes, s its scale, x̂ what they decode to.

============  =======================================================================  ==============================
format        arrays of a parameter                                                    error of a value
============  =======================================================================  ==============================
``float32``   itself                                                                   none
``bfloat16``  the upper half of float32's bits, as uint16, rounded half to even        2⁻⁸ of it at most
``int8``      q = round(x / s) as int8, with s = max|x| / 127, and x̂ = q s             s / 2 at most
============  =======================================================================  ==============================

References
----------
B. Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, CVPR
2018, section 2.1, here without a zero point. bfloat16 is IEEE 754's binary32 without its last 16 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
Layout = Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
"""Name of an array -> its dtype and shape."""

UPDATE_FORMATS = ("float32", "bfloat16", "int8")
SCALE = ".scale"
"""What an int8 parameter's name is followed by in the name of its scales."""
LARGEST_CODE = 127
SMALLEST_SCALE = np.finfo(np.float32).tiny
"""A smaller scale would itself be rounded coarsely: such a row, at most 1.5e-36 everywhere, becomes zero."""


def encode(parameters: Mapping[str, Values], update_format: str) -> dict[str, NDArray[Any]]:
    """Return parameters in a format.

    Parameters
    ----------
    parameters
        Name -> float32 values.
    update_format
        One of ``UPDATE_FORMATS``.

    Returns
    -------
    dict
        Names, dtypes and shapes as `layout` says. A value that is not finite decodes to one that is not, in int8 with
        all of its row.
    """
    if update_format == "float32":
        return dict(parameters)
    if update_format == "bfloat16":
        return {name: to_bfloat16(values) for name, values in parameters.items()}
    arrays: dict[str, NDArray[Any]] = {}
    for name, values in parameters.items():
        arrays[name], arrays[name + SCALE] = to_int8(values)
    return arrays


def decode(arrays: Mapping[str, NDArray[Any]], update_format: str) -> dict[str, Values]:
    """Return the float32 values of encoded parameters.

    Parameters
    ----------
    arrays
        As `layout` says.
    update_format
        The format they are in.

    Raises
    ------
    ValueError
        If int8 arrays are none that `encode` makes: a scale negative or not finite, or the code -128.
    """
    if update_format == "float32":
        return dict(arrays)
    if update_format == "bfloat16":
        return {name: from_bfloat16(values) for name, values in arrays.items()}
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


def layout(shapes: Mapping[str, tuple[int, ...]], update_format: str) -> Layout:
    """Return dtype and shape of every array that parameters of these shapes have in a format."""
    if update_format != "int8":
        dtype: np.dtype[Any] = np.dtype(np.float32 if update_format == "float32" else np.uint16)
        return {name: (dtype, shape) for name, shape in shapes.items()}
    codes = {name: (np.dtype(np.int8), shape) for name, shape in shapes.items()}
    scales = {name + SCALE: (np.dtype(np.float32), (_rows(shape),)) for name, shape in shapes.items()}
    return codes | scales


def to_bfloat16(values: Values) -> NDArray[np.uint16]:
    """Return the nearest bfloat16 of each value as its bits, uint16; of two equally near, the even one.

    What is above bfloat16's largest value by half a step becomes infinite, as IEEE 754 rounds; NaN stays NaN.
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    # Adding just under half a step carries into the upper half where the lower is above half, or half and odd.
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    quiet_nan = (bits >> 16) | 0x40
    return np.where(np.isnan(values), quiet_nan, rounded).astype(np.uint16)


def from_bfloat16(bits: NDArray[np.uint16]) -> Values:
    """Return bfloat16 values as float32, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_int8(values: Values) -> tuple[NDArray[np.int8], Values]:
    """Return the codes of values, int8 of their shape, and one scale a row, float32 (rows,); one row for a vector.

    A row that is zero everywhere (or below 127 · 2⁻¹²⁶) has scale 0; one that is not finite everywhere has scale NaN.
    """
    rows = values.reshape(_rows(values.shape), -1)
    largest = np.abs(rows).max(axis=1, initial=0.0)
    scales = (largest / np.float32(LARGEST_CODE)).astype(np.float32)
    finite = np.isfinite(scales)
    usable = finite & (scales >= SMALLEST_SCALE)
    safe = np.where(usable, scales, np.float32(1.0))[:, None]
    quotients = np.where(usable[:, None], rows, np.float32(0.0)) / safe
    # No quotient is further from 127 than a rounding.
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
