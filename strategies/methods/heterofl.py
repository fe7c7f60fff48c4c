"""HeteroFL: static nested slices of the model, as wide as each client's capacity.

Symbols: H_l units of hidden layer l (K_g in the paper); r_k the shrinkage ratio of client k (r^(p-1) of its complexity
level p), here its capacity.

- Client k trains the first ⌈r_k H_l⌉ units of each hidden layer in every round.
- θ_j becomes the plain mean over the clients that hold it: one client, one vote.
- The paper's Scaler multiplies what a hidden layer computes by 1/r_k before its activation. With ReLU, and r_k the
  share of units held, ``scale = mean`` is the same: a positive factor passes through ReLU to the next layer's input.
- The paper's masked cross-entropy for label-skewed clients is ``absent-classes = zeroed``, an option of all methods
  that average: a client's loss has zero for the logits of classes that it lacks, and the server averages an output row
  over the clients that hold its class. By default, every client counts for all classes.

References
----------
E. Diao, J. Ding, V. Tarokh, HeteroFL: Computation and Communication Efficient Federated Learning for Heterogeneous
Clients, ICLR 2021, section 3 and Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from fl_sparse.config import RunConfig
from fl_sparse.wire import ClientDescription
from strategies.round.groups import AssignmentRule, Axes, Group, Placement, by_kind, check_axes, prefix


@dataclass(frozen=True)
class HeteroFL(AssignmentRule):
    """The first ⌈r_k H_l⌉ units of each layer, averaged with equal weights."""

    axes: Axes

    @classmethod
    def from_config(cls, config: RunConfig, axes: Axes) -> Self:
        """Build the rule of a run."""
        check_axes(axes, "strategy 'heterofl'")
        return cls(axes)

    def place(self, round_number: int, clients: Sequence[ClientDescription]) -> list[Group]:
        """Return each client's slice."""
        return by_kind(clients, lambda client: client.capacity, self._place)

    def _place(self, client: ClientDescription) -> Placement:
        return Placement(prefix(self.axes, client.capacity), by_examples=False)
