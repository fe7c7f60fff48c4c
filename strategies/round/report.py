"""What happened to a round's messages, and the work that they asked of the clients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fl_sparse.model.cost import Workload
from fl_sparse.wire import ClientDescription, EvaluationReply

SHOWN = 10
"""Most clients named in one line of the log, and most late ones among the reasons of a round."""
ENTRIES = (
    "asked",
    "answered",
    "refused",
    "lost",
    "late",
    "bytes_down",
    "bytes_up",
    "train_loss",
    "simulated_seconds",
    "flops_per_client",
    "flops_by_layer",
    "weights_held",
    "weights_held_max",
    "weights_active",
)
"""Fields of the report that a round's record has by the same names."""


@dataclass
class RoundReport:
    """One round; ``lost`` = asked - answered, since an error does not name its sender.

    FLOPs and weights are means over the clients asked; ``weights_held_max`` is the largest. ``late`` counts the lost
    that missed the virtual clock's deadline. ``simulated_seconds`` are that clock's, None without one.
    """

    asked: int = 0
    answered: int = 0
    refused: int = 0
    bytes_down: int = 0
    bytes_up: int = 0
    train_loss: float | None = None
    work: list[Workload] = field(default_factory=list, repr=False)
    reasons: list[str] = field(default_factory=list)
    late: int = 0
    simulated_seconds: float | None = None
    evaluations: dict[int, EvaluationReply] = field(default_factory=dict, repr=False)
    """By partition id, when clients evaluate."""

    def add_refused(self, reason: str) -> None:
        """Count a refused reply or evaluation, and note the reason."""
        self.refused += 1
        self.reasons.append(reason)

    def add_late(self, reason: str) -> None:
        """Count a late client; the first ``SHOWN`` are among the reasons."""
        self.late += 1
        if self.late <= SHOWN:
            self.reasons.append(reason)

    def close_late(self) -> None:
        """Note how many late clients are not among the reasons."""
        if self.late > SHOWN:
            self.reasons.append(f"late: {self.late - SHOWN} more clients")

    def entries(self) -> dict[str, Any]:
        """Return the fields of a round's record that come from this report."""
        return {name: getattr(self, name) for name in ENTRIES} | {"reasons": tuple(self.reasons)}

    @property
    def lost(self) -> int:
        """Clients that were asked and did not answer."""
        return self.asked - self.answered

    @property
    def flops_by_layer(self) -> dict[str, float]:
        """Layer -> FLOPs."""
        layers = self.work[0].flops if self.work else ()
        return {layer: _mean(work.flops[layer] for work in self.work) for layer in layers}

    @property
    def flops_per_client(self) -> float:
        """FLOPs of all layers."""
        return _mean(work.total_flops for work in self.work)

    @property
    def weights_held(self) -> float:
        """Parameters that a client holds."""
        return _mean(work.weights_held for work in self.work)

    @property
    def weights_held_max(self) -> int:
        """Parameters of the client that holds most."""
        return max((work.weights_held for work in self.work), default=0)

    @property
    def weights_active(self) -> float:
        """Parameters that a client's steps use."""
        return _mean(work.weights_active for work in self.work)


def node_name(node: int, clients: Mapping[int, ClientDescription]) -> str:
    """Return how reasons and the log name a node."""
    return f"client {clients[node].partition_id}" if node in clients else f"node {node}"


def name_some(names: Sequence[str]) -> str:
    """Return the first ``SHOWN`` names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0
