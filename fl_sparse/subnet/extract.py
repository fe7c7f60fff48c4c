"""Cut a subnet's weights out of the whole model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fl_sparse.subnet.assignment import SubnetAssignment


def extract(
    parameters: Mapping[str, NDArray[np.float32]], assignment: SubnetAssignment
) -> dict[str, NDArray[np.float32]]:
    """Return the subnet's parameters, contiguous float32 arrays; a parameter that is held whole is not copied."""
    return {name: cut(values, assignment.index(name)) for name, values in parameters.items()}


def cut(values: NDArray[np.float32], index: tuple[NDArray[np.int64] | None, ...]) -> NDArray[np.float32]:
    """Return the part of an array at the given indices of each axis (None = the whole axis)."""
    for axis, units in enumerate(index):
        if units is not None and len(units) != values.shape[axis]:
            values = np.take(values, units, axis=axis)
    return np.ascontiguousarray(values)
