"""Formats with one number a value: float32 as it is, and bfloat16.

============  =====================================================================  =========================
format        array of a parameter                                                   error of a value
============  =====================================================================  =========================
``float32``   itself                                                                 none
``bfloat16``  the upper half of float32's bits, as uint16, rounded half to even      2⁻⁸ of the value
============  =====================================================================  =========================

bfloat16 is IEEE 754's binary32 without its last 16 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.codec.codec import Arrays, Layout, Values
from fl_sparse.model.parameters import Shapes


class Float32:
    """Values as they are, in float32."""

    exact = True

    def encode(self, parameters: Mapping[str, Values]) -> dict[str, NDArray[Any]]:
        """Return the parameters themselves."""
        return dict(parameters)

    def decode(self, arrays: Arrays) -> dict[str, Values]:
        """Return the arrays themselves."""
        return dict(arrays)

    def layout(self, shapes: Shapes) -> Layout:
        """Return float32 arrays of the parameters' shapes."""
        return {name: (np.dtype(np.float32), shape) for name, shape in shapes.items()}


class BFloat16:
    """Values rounded to bfloat16: half the bits."""

    exact = False

    def encode(self, parameters: Mapping[str, Values]) -> dict[str, NDArray[Any]]:
        """Return the nearest bfloat16 of each value."""
        return {name: to_bfloat16(values) for name, values in parameters.items()}

    def decode(self, arrays: Arrays) -> dict[str, Values]:
        """Return the bfloat16 values as float32, exactly."""
        return {name: from_bfloat16(values) for name, values in arrays.items()}

    def layout(self, shapes: Shapes) -> Layout:
        """Return uint16 arrays of the parameters' shapes."""
        return {name: (np.dtype(np.uint16), shape) for name, shape in shapes.items()}


def to_bfloat16(values: Values) -> NDArray[np.uint16]:
    """Return the bits of the bfloat16 nearest to each value, uint16; of two equally near, the even one.

    A value half a step above bfloat16's largest becomes infinite, as IEEE 754 rounds; NaN stays NaN.
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    # Add half a step, less one if the upper half is even: the carry rounds the upper half, ties to even.
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    quiet_nan = (bits >> 16) | 0x40
    return np.where(np.isnan(values), quiet_nan, rounded).astype(np.uint16)


def from_bfloat16(bits: NDArray[np.uint16]) -> Values:
    """Return bfloat16 values as float32, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
