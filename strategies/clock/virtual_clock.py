"""The virtual clock: how long a round would take on given devices, and which clients miss its deadline.

Times depend only on the configuration, the round and the shapes. So the same clients are late on every backend and
after a resume.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fl_sparse.codec.codec import Layout
from fl_sparse.config import RunConfig
from fl_sparse.config.device_profiles import DeviceProfile, parse_profiles
from fl_sparse.errors import InputError
from fl_sparse.wire import (
    ClientDescription,
    Expected,
    TrainOrder,
    TrainReply,
    content_of_order,
    content_of_reply,
    wire_bytes,
)


@dataclass(frozen=True)
class ClientTime:
    """One client's phase: it fetches ``bytes_down``, computes ``flops`` and sends ``bytes_up``."""

    profile: DeviceProfile
    bytes_down: int
    flops: float
    bytes_up: int

    @property
    def seconds(self) -> float:
        """Simulated seconds."""
        return self.profile.seconds(bytes_down=self.bytes_down, flops=self.flops, bytes_up=self.bytes_up)


@dataclass(frozen=True)
class VirtualClock:
    """Device profiles, dealt in turn to clients by partition id, and seconds that a round waits (0 = for all)."""

    profiles: tuple[DeviceProfile, ...]
    deadline: float

    @classmethod
    def from_config(cls, config: RunConfig) -> Self | None:
        """Return the run's clock, None without device profiles."""
        profiles = parse_profiles(config.device_profiles)
        return cls(profiles, config.round_deadline) if profiles else None

    def time(self, client: int, *, bytes_down: int, flops: float = 0.0, bytes_up: int = 0) -> ClientTime:
        """Return the time of the client with this partition id."""
        return ClientTime(self.profiles[client % len(self.profiles)], bytes_down, flops, bytes_up)

    def training(self, client: ClientDescription, order: TrainOrder, expected: Expected, flops: float) -> ClientTime:
        """Return the time of a client's local training before it starts, from the sizes of order and expected reply.

        The standardizer (2F numbers that a node gets once) and the residual's round are left out: they depend on what
        was restarted, and the clock must not. If a reply has to name its classes, one class is counted: their number
        is unknown until the reply comes, whose own size then counts.
        """
        kept = replace(
            order,
            standardizing=replace(order.standardizing, sent=None),
            update=replace(order.update, residual_round=0),
        )
        update = without_memory(expected.layout)
        classes = (0,) if expected.says_classes else None
        reply = TrainReply(order.round, order.number, update, client.num_examples, 1.0, classes=classes)
        return self.time(
            client.partition_id,
            bytes_down=wire_bytes(content_of_order(kept)),
            flops=flops,
            bytes_up=wire_bytes(content_of_reply(reply)),
        )

    def is_late(self, time: ClientTime) -> bool:
        """Tell whether a client's reply comes after the deadline."""
        return bool(self.deadline) and time.seconds > self.deadline

    def late_words(self, time: ClientTime) -> str:
        """Return the reason why a late client's reply is lost."""
        return f"late: {time.seconds:.3g} s, deadline {self.deadline:g} s"

    def round_seconds(self, answered: Collection[ClientTime], silent: Collection[ClientTime]) -> float:
        """Return how long a round takes: the slowest client's time, at most the deadline.

        The server cannot tell a silent client (late, dropped out or failed) from a slow one, so it waits until the
        deadline. Without a deadline it waits for the slowest client that answers. If nobody answers, the round takes
        as long as the slowest client would have.
        """
        if silent and self.deadline:
            return self.deadline
        return max((time.seconds for time in answered or silent), default=0.0)

    def check_deadline(self, rounds: int, times: Iterable[tuple[int, ClientTime]]) -> None:
        """Refuse a deadline that no client meets in any round.

        Parameters
        ----------
        rounds
            Rounds of the run.
        times
            Partition id and time of each client that a round asks; read up to the first client in time.

        Raises
        ------
        InputError
            Naming the fastest client and its time.
        """
        if not self.deadline:
            return
        fastest: tuple[int, ClientTime] | None = None
        for client, time in times:
            if not self.is_late(time):
                return
            if fastest is None or time.seconds < fastest[1].seconds:
                fastest = (client, time)
        if fastest is not None:
            client, time = fastest
            raise InputError(
                f"round-deadline = {self.deadline:g} s: no client can answer in time in any of {rounds} rounds; the "
                f"fastest, client {client} ({time.profile.name}), takes {time.seconds:.3g} s"
            )


def without_memory(layout: Layout) -> dict[str, NDArray[Any]]:
    """Return arrays of these dtypes and shapes that take no memory, to count their bytes."""
    return {name: np.broadcast_to(dtype.type(0), shape) for name, (dtype, shape) in layout.items()}
