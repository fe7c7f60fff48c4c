"""The record of a round, and the summary that follows from a run's records."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fl_sparse.errors import InputError

PHASES = ("configure", "train", "aggregate", "evaluate", "write")


@dataclass(frozen=True)
class RoundRecord:
    """What is known of a round; one line of ``metrics.jsonl``. Round 0 is the untrained model.

    Accuracies are fractions, losses are in nats. Bytes count messages as Flower serialises them. FLOPs count
    one client's local steps. ``weights_held`` counts the parameters that a client holds, ``weights_active`` the
    parameters that its steps use; both are means over the clients asked. Seconds are wall-clock time by phase,
    simulated seconds are the virtual clock's (None without one). Late replies are counted among the lost.
    """

    round: int
    validation_accuracy: float | None = None
    validation_loss: float | None = None
    test_accuracy: float | None = None
    test_loss: float | None = None
    clients_accuracy: float | None = None
    clients_loss: float | None = None
    train_loss: float | None = None
    bytes_down: int = 0
    bytes_up: int = 0
    flops_per_client: float = 0.0
    flops_by_layer: Mapping[str, float] = field(default_factory=dict)
    weights_held: float = 0.0
    weights_held_max: int = 0
    weights_active: float = 0.0
    asked: int = 0
    answered: int = 0
    refused: int = 0
    lost: int = 0
    late: int = 0
    reasons: tuple[str, ...] = ()
    simulated_seconds: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def chosen_on(self) -> float | None:
        """The accuracy that rounds are chosen by: the server's validation split, else the clients' own."""
        return self.validation_accuracy if self.validation_accuracy is not None else self.clients_accuracy

    @property
    def reported(self) -> float | None:
        """The accuracy that is reported: the test images', else the clients' own."""
        return self.test_accuracy if self.test_accuracy is not None else self.clients_accuracy


def to_json(record: RoundRecord) -> dict[str, Any]:
    """Return a record as the values of a JSON object."""
    return dataclasses.asdict(record)


def from_json(values: Mapping[str, Any], *, source: str) -> RoundRecord:
    """Read a record.

    Raises
    ------
    InputError
        If the object is no record; ``source`` names the file and line.
    """
    try:
        return RoundRecord(**{**values, "reasons": tuple(values.get("reasons", ()))})
    except TypeError as error:
        raise InputError(f"{source}: no round record: {error}") from None


def chosen_record(records: Sequence[RoundRecord]) -> RoundRecord | None:
    """Return the round with the best validation accuracy, the earliest of equals; None if none was evaluated."""
    return max(evaluated(records), key=lambda record: (record.chosen_on, -record.round), default=None)


def evaluated(records: Sequence[RoundRecord]) -> list[RoundRecord]:
    """Return the rounds that have both an accuracy to choose by and one to report."""
    return [record for record in records if record.chosen_on is not None and record.reported is not None]


def summarize(records: Sequence[RoundRecord]) -> dict[str, Any]:
    """Return the run's summary.

    ``accuracy`` is the test accuracy at the `chosen_record`, ``final_accuracy`` at the last evaluated round.
    ``best_accuracy`` is the highest of all rounds: never choose by it, since it looks at the test images.
    Bytes and FLOPs are sums over rounds. Weights are means over the rounds that trained, None if no record counts them.
    """
    usable = evaluated(records)
    chosen = chosen_record(records)
    simulated = [record.simulated_seconds for record in records if record.simulated_seconds is not None]
    served = any(record.test_accuracy is not None for record in records)
    return {
        "accuracy": None if chosen is None else chosen.reported,
        "chosen_round": None if chosen is None else chosen.round,
        "final_accuracy": usable[-1].reported if usable else None,
        "best_accuracy": max((record.reported or 0.0 for record in usable), default=None),
        "accuracy_of": "test images" if served else "clients' held-out images",
        "validation_accuracy": None if chosen is None else chosen.chosen_on,
        "rounds": max((record.round for record in records), default=0),
        "bytes_down": sum(record.bytes_down for record in records),
        "bytes_up": sum(record.bytes_up for record in records),
        "flops_per_client": sum(record.flops_per_client for record in records),
        "flops_by_layer": _summed([record.flops_by_layer for record in records]),
        **_weights([record for record in records if record.weights_held_max]),
        "asked": sum(record.asked for record in records),
        "refused": sum(record.refused for record in records),
        "lost": sum(record.lost for record in records),
        "late": sum(record.late for record in records),
        "simulated_seconds": sum(simulated) if simulated else None,
        "seconds": {phase: sum(record.seconds.get(phase, 0.0) for record in records) for phase in PHASES},
    }


def _summed(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0.0) for part in parts) for name in names}


def _weights(trained: Sequence[RoundRecord]) -> dict[str, float | None]:
    if not trained:
        return dict.fromkeys(("weights_held", "weights_held_max", "weights_active"))
    return {
        "weights_held": sum(record.weights_held for record in trained) / len(trained),
        "weights_held_max": max(record.weights_held_max for record in trained),
        "weights_active": sum(record.weights_active for record in trained) / len(trained),
    }
