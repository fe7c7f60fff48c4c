"""What a report is made from: runs that could be read, and what is to be said about the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fl_sparse.config.values import Scalar
from server.client_table import ClientTable
from server.records import RoundRecord

Fate = Literal["failed", "unfinished", "damaged", "never evaluated", "repeated"]


@dataclass(frozen=True)
class Run:
    """One run with at least one evaluated round.

    ``summary`` is the run's own ``summary.json``, or what follows from the records so far if it is unfinished.
    ``split`` is the picture of its split, ``clients`` what each client holds, as far as the folder has them.
    ``recipe`` is empty for a run that belongs to no comparison.
    """

    folder: Path
    recipe: str
    config: Mapping[str, Scalar]
    records: tuple[RoundRecord, ...] = field(repr=False)
    summary: Mapping[str, Any] = field(repr=False)
    finished: bool
    environment: Mapping[str, Any] = field(repr=False)
    split: bytes | None = field(repr=False)
    clients: ClientTable | None = field(repr=False)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.config["seed"])


@dataclass(frozen=True)
class Problem:
    """A run that the averages lack, or that needs a word, and why."""

    name: str
    fate: Fate
    reason: str


@dataclass(frozen=True)
class Trial:
    """One tried combination of the tuned keys' values; ``accuracy`` on validation is a fraction, None without one."""

    line: tuple[tuple[str, str], ...]
    values: tuple[str, ...]
    accuracy: float | None
    chosen: bool
    reason: str = ""


@dataclass(frozen=True)
class Tuning:
    """How the tuned keys' values were chosen in one comparison."""

    comparison: str
    keys: tuple[str, ...]
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Evidence:
    """All that the given folders hold."""

    runs: tuple[Run, ...] = ()
    problems: tuple[Problem, ...] = ()
    tunings: tuple[Tuning, ...] = ()


def gather(parts: Sequence[Evidence]) -> Evidence:
    """Put evidence from several folders together, in their order."""
    return Evidence(
        tuple(run for part in parts for run in part.runs),
        tuple(problem for part in parts for problem in part.problems),
        tuple(tuning for part in parts for tuning in part.tunings),
    )
