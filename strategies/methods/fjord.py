"""FjORD: ordered dropout. A client holds the first units of each layer; each step trains a newly drawn prefix of them.

Symbols: P the set of shares (``ordered-shares``), p a share; K_l units of hidden layer l (H_l elsewhere).

- p_max of client k is the largest p of P that its capacity admits. The client holds the first ⌈p_max K_l⌉ units.
- A local step draws p uniformly from the shares of P up to p_max, on the client, from (seed, client, step). It trains
  the first ⌈p K_l⌉ units; the other units are absent from the passes forward and backward.
- A coordinate becomes the mean by examples over the clients that hold it, whether or not their steps drew it.
- Sub-models are never scaled, whatever ``scale`` says.
- With ``self-distillation``, each step also passes its batch through the widest sub-model. The widest learns from the
  labels; the drawn one learns from the widest's probabilities (weight and temperature 1, as in the paper).

Beyond a step's prefix gradients are zero, as automatic differentiation gives them, so momentum and Adam's moments still
move there. Units are masked here, not cut away, so every step takes as long as p_max. FLOPs and active weights count
the units that take part, as in the method.

References
----------
S. Horváth et al., FjORD: Fair and Accurate Federated Learning under heterogeneous targets with Ordered Dropout, NeurIPS
2021, section 3 and Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.wire import ClientDescription
from strategies.round.groups import (
    ROUNDING,
    AssignmentRule,
    Axes,
    Group,
    Placement,
    by_kind,
    check_axes,
    held_units,
    prefix,
)


@dataclass(frozen=True)
class FjORD(AssignmentRule):
    """The first ⌈p_max K_l⌉ units of each layer, of which steps train drawn prefixes."""

    options: ClassVar[tuple[str, ...]] = ("ordered-shares", "self-distillation")

    axes: Axes
    shares: tuple[float, ...]

    @classmethod
    def from_config(cls, config: RunConfig, axes: Axes) -> Self:
        """Build the rule of a run.

        Raises
        ------
        InputError
            With LayerNorm, which would count the units that a step leaves out.
        """
        if config.normalization != "none":
            raise InputError(
                f"normalization = {config.normalization!r}: strategy 'fjord' leaves units out of single steps; "
                "expected 'none'"
            )
        check_axes(axes, "strategy 'fjord'")
        return cls(axes, config.shares)

    def place(self, round_number: int, clients: Sequence[ClientDescription]) -> list[Group]:
        """Return each client's prefix, and the prefixes that its steps draw from.

        Raises
        ------
        InputError
            If a client's capacity is below the smallest share.
        """
        return by_kind(clients, lambda client: self._admitted(client), self._place)

    def _admitted(self, client: ClientDescription) -> tuple[float, ...]:
        admitted = tuple(share for share in self.shares if share <= client.capacity + ROUNDING)
        if not admitted:
            raise InputError(
                f"client {client.partition_id}: capacity = {client.capacity:g} is below the smallest of "
                f"ordered-shares; expected {self.shares[0]:g} or more"
            )
        return admitted

    def _place(self, client: ClientDescription) -> Placement:
        admitted = self._admitted(client)
        prefixes = tuple(tuple(held_units(size, share) for size in self.axes.values()) for share in admitted)
        return Placement(prefix(self.axes, admitted[-1]), prefixes=prefixes, scaled=False)
