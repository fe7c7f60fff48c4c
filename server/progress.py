"""How a run tells its progress: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from server.records import RoundRecord


def round_line(record: RoundRecord, total: int) -> str:
    """Return a round as one line of at most 80 columns."""
    parts = [f"round {record.round}/{total}"]
    if record.test_accuracy is not None and record.validation_accuracy is not None:
        parts.append(f"val {record.validation_accuracy:.1%}, test {record.test_accuracy:.1%}")
    elif record.clients_accuracy is not None:
        parts.append(f"clients' accuracy {record.clients_accuracy:.1%}")
    if record.train_loss is not None:
        parts.append(f"loss {record.train_loss:.3f}")
    parts.append(f"{human_bytes(record.bytes_down)} down, {human_bytes(record.bytes_up)} up")
    missing = record.refused + record.lost
    if missing:
        parts.append(f"{missing} of {record.asked} missing")
    return "  ".join(parts)


def human_bytes(count: float) -> str:
    """Return a number of bytes as people write it (powers of 1,000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


class PlainWatcher:
    """Prints one line for each round."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def note(self, text: str) -> None:
        """Print a step before the rounds."""
        print(text, file=self._stream, flush=True)

    def round(self, record: RoundRecord, total: int) -> None:
        """Print a finished round."""
        print(round_line(record, total), file=self._stream, flush=True)


class BarWatcher:
    """Shows a bar with round, accuracy and bytes; use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("round"),
            MofNCompleteColumn(),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(compact=True),
            console=console,
        )
        self._task: TaskID | None = None
        self._bytes = 0

    def __enter__(self) -> BarWatcher:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Print a step before the rounds above the bar."""
        self._progress.console.print(text, markup=False, highlight=False)

    def round(self, record: RoundRecord, total: int) -> None:
        """Move the bar."""
        self._bytes += record.bytes_down + record.bytes_up
        accuracy = record.reported
        state = ("" if accuracy is None else f"accuracy {accuracy:.1%}  ") + human_bytes(self._bytes)
        if self._task is None:
            self._task = self._progress.add_task("round", total=total, completed=record.round, state=state)
        self._progress.update(self._task, completed=record.round, state=state)
