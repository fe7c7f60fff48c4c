"""HeteroFL: static nested slices of the model, as wide as each client's capacity.

Symbols: H_l units of hidden layer l (K_g in the paper); r_k the shrinkage ratio of client k (r^(p-1) of its complexity
level p), here its capacity.

- Client k trains the first ⌈r_k H_l⌉ units of each hidden layer in every round.
- θ_j becomes the plain mean over the clients that hold it: one client, one vote.
- The paper's Scaler multiplies what a hidden layer computes by 1/r_k before its activation. With ReLU, and r_k the
  share of units held, that is ``scale = mean``: a positive factor passes through ReLU to the next layer's input.
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
from typing import ClassVar, Self

from fl_sparse.config import RunConfig
from fl_sparse.part import subnet_scales
from fl_sparse.wire.exchange import ClientDescription
from strategies.round.groups import Placement, check_layers, prefix


@dataclass(frozen=True)
class HeteroFL:
    """The first ⌈r_k H_l⌉ units of each layer, averaged with equal weights."""

    options: ClassVar[tuple[str, ...]] = ()

    widths: tuple[int, ...]
    scale: str

    @classmethod
    def from_config(cls, config: RunConfig) -> Self:
        """Build the rule of a run."""
        check_layers(config.widths, "strategy 'heterofl'")
        return cls(config.widths, config.scale)

    def place(self, round_number: int, clients: Sequence[ClientDescription]) -> list[Placement]:
        """Return each client's slice."""
        return [self._place(client) for client in clients]

    def _place(self, client: ClientDescription) -> Placement:
        subnet = prefix(self.widths, client.capacity)
        scales = subnet_scales(subnet, self.widths, self.scale)
        return Placement(client.partition_id, subnet, scales, by_examples=False)
