"""The loss of a client that lacks some classes: what happens to the logits of these absent classes.

Symbols: A parts in the stack, b rows of a batch, C classes, z logits.

============  ======================================================================================================
``trained``   all logits take part: every example pushes those of absent classes down, and no example pulls them up
``masked``    z_c = −∞ for absent classes c: the softmax is over the classes held
``zeroed``    z_c = 0, a constant that stays in the softmax's denominator, as in HeteroFL
============  ======================================================================================================

Under the last two, the gradients of an absent class's logit and of its row of the output layer are exactly zero. If the
optimiser starts anew, the row and its bias stay as they are, bit for bit.

References
----------
E. Diao, J. Ding, V. Tarokh, HeteroFL, ICLR 2021, section 3: masked cross-entropy, which is ``zeroed`` in the authors'
release (``src/models/conv.py``). The harm of a softmax over all classes to absent ones: MAP: Model Aggregation and
Personalization in Federated Learning with Incomplete Classes, arXiv 2404.09232.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.array_ops import ArrayOps

ABSENT_CLASSES = ("trained", "masked", "zeroed")
FILL = {"masked": -np.inf, "zeroed": 0.0}
"""The value that an absent class's logit takes."""


@dataclass(frozen=True)
class AbsentClasses:
    """Which classes each part's client holds.

    Parameters
    ----------
    present
        bool (A, C): True for a class that the client holds, which all labels in its batches have to be.
    rule
        ``masked`` or ``zeroed``.
    """

    present: NDArray[np.bool_] = field(repr=False)
    rule: str

    def piece(self, some: slice) -> AbsentClasses:
        """Return the classes of some of the stack's parts."""
        return AbsentClasses(self.present[some], self.rule)


class LogitMask:
    """Takes the logits of absent classes, and their gradients, out of a stack's loss."""

    def __init__(self, ops: ArrayOps, absent: AbsentClasses) -> None:
        self._xp = ops.xp
        present = absent.present[:, None]
        self._present = ops.from_host(present.astype(np.float32))
        self._fill = ops.from_host(np.where(present, 0.0, FILL[absent.rule]).astype(np.float32))

    def cover(self, logits: Any) -> Any:
        """Replace the absent classes' logits by the fill, in place; return the logits (A, b, C)."""
        self._xp.multiply(logits, self._present, out=logits)
        return self._xp.add(logits, self._fill, out=logits)

    def still(self, gradient: Any) -> Any:
        """Replace the absent classes' gradients by zero, in place; return the gradients (A, b, C)."""
        return self._xp.multiply(gradient, self._present, out=gradient)
