"""The loss over the classes that a client holds: what happens to the logits of those of which it has no example.

Symbols: A parts in the stack, b rows of a batch, C classes, z logits.

============  ======================================================================================================
``trained``   all logits take part: the absent classes' are pushed down on every example, and nothing pulls them up
``masked``    z_c = −∞ for absent classes c: the softmax is over the classes held
``zeroed``    z_c = 0, a constant that stays in the softmax's denominator, as in HeteroFL
============  ======================================================================================================

Under the last two the gradient of an absent class's logit is exactly zero, and with it that of its row of the output
layer: with an optimiser that starts anew, the row and its bias stay as they are, bit for bit.

References
----------
E. Diao, J. Ding, V. Tarokh, HeteroFL, ICLR 2021, section 3: masked cross-entropy, which in the authors' release
(``src/models/conv.py``) is ``zeroed``. On what a softmax over all classes does to absent ones: MAP: Model Aggregation
and Personalization in Federated Learning with Incomplete Classes, arXiv 2404.09232.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.array_ops import ArrayOps

ABSENT_CLASSES = ("trained", "masked", "zeroed")
FILL = {"masked": -np.inf, "zeroed": 0.0}
"""What an absent class's logit is."""


@dataclass(frozen=True)
class AbsentClasses:
    """Which classes each part's client holds.

    Parameters
    ----------
    present
        bool (A, C): True for a class that the client holds; of each client all labels that its batches have.
    rule
        ``masked`` or ``zeroed``.
    """

    present: NDArray[np.bool_] = field(repr=False)
    rule: str

    def part(self, some: slice) -> AbsentClasses:
        """Return that of some of the stack's parts."""
        return AbsentClasses(self.present[some], self.rule)


class LogitMask:
    """Takes the logits of absent classes out of a stack's loss, and their gradients."""

    def __init__(self, ops: ArrayOps, absent: AbsentClasses) -> None:
        self._xp = ops.xp
        present = absent.present[:, None]
        self._present = ops.from_host(present.astype(np.float32))
        self._fill = ops.from_host(np.where(present, 0.0, FILL[absent.rule]).astype(np.float32))

    def cover(self, logits: Any) -> Any:
        """Put the fill in the place of the absent classes' logits, (A, b, C), and return them."""
        self._xp.multiply(logits, self._present, out=logits)
        return self._xp.add(logits, self._fill, out=logits)

    def still(self, gradient: Any) -> Any:
        """Put zero in the place of the absent classes' gradients, (A, b, C), and return them."""
        return self._xp.multiply(gradient, self._present, out=gradient)
