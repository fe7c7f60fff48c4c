"""Cut a subnet's parameters out of the whole model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fl_sparse.part.assignment import SubnetAssignment, Units


def extract(
    parameters: Mapping[str, NDArray[np.float32]], assignment: SubnetAssignment
) -> dict[str, NDArray[np.float32]]:
    """Return the subnet's parameters as contiguous float32 arrays.

    A parameter that is held whole is not copied: read what is returned, do not write to it.
    """
    return {name: _cut(values, assignment.index(name)) for name, values in parameters.items()}


def _cut(values: NDArray[np.float32], index: tuple[Units | None, ...]) -> NDArray[np.float32]:
    # A unit's row is moved as a block; columns are then picked from the rows that are left.
    for axis, units in enumerate(index):
        if units is not None and len(units) != values.shape[axis]:
            values = np.take(values, units, axis=axis)
    return np.ascontiguousarray(values, dtype=np.float32)
