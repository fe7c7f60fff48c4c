"""What a kind of network has to give so that it can be trained in a stack.

Symbols: A parts in the stack, b rows of a batch, F features, H units of a shared axis, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from fl_sparse.learn.task import TrainingJob
from fl_sparse.model.network import NetworkSpec

if TYPE_CHECKING:
    from torch import Tensor


class StackedNetwork(Protocol):
    """A kind of network, computed for all parts of a stack at once by torch's differentiable functions."""

    def spec(self, job: TrainingJob) -> NetworkSpec:
        """Return the network whose parameters a job trains, in the sizes of the part.

        The stack's parameters are its ``model``, and the axes of ``present`` its ``shared_axes``.
        """

    def forward(
        self,
        spec: NetworkSpec,
        parameters: Mapping[str, Tensor],
        x: Tensor,
        scales: Sequence[Tensor | float],
        present: Sequence[Tensor] | None = None,
        whole_rows: int = 0,
    ) -> Tensor:
        """Return the logits, float32 (A, b, C), as a pure function of tensors.

        Each part's logits depend on its own parameters and rows only.

        Parameters
        ----------
        spec
            What `spec` returned.
        parameters
            Name -> (A, ...). Every trained one takes part in the logits.
        x
            float32 (A, b, F). The next step overwrites it.
        scales
            One factor c a layer, output included: a number, or (A,).
        present
            For each shared axis a mask, float32 (A, 1, H): 1 where a unit takes part in this pass, 0 where the unit and
            its gradient are left out. None means that all units take part.
        whole_rows
            The masks do not apply to this many first rows of the batch.
        """
