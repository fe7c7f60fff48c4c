"""What a format of a part's values in messages has to do, up and down.

Symbols: x a row of a matrix (a vector is one row), q its codes, s its scale, x̂ the decoded row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fl_sparse.model.parameters import Shapes

Values = NDArray[np.float32]
Arrays = Mapping[str, NDArray[Any]]
Layout = Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
"""Name of an array -> its dtype and shape."""


class Codec(Protocol):
    """A format of values in messages."""

    exact: bool
    """Whether decoding gives back the values bit for bit."""

    def encode(self, parameters: Mapping[str, Values]) -> dict[str, NDArray[Any]]:
        """Return parameters as arrays with the names, dtypes and shapes of `layout`.

        A value that is not finite decodes to one that is not, or `decode` refuses the arrays.
        """

    def decode(self, arrays: Arrays) -> dict[str, Values]:
        """Return the float32 values of encoded parameters.

        Raises
        ------
        ValueError
            For arrays that `encode` never makes.
        """

    def layout(self, shapes: Shapes) -> Layout:
        """Return dtype and shape of every array that encoding parameters of these shapes makes."""
