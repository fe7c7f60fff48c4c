"""How a run shows that it goes on: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fl_sparse.pretraining.loop import StepReport

SECONDS_BETWEEN_LINES = 20.0


def duration(seconds: float) -> str:
    """Return a time as hours, minutes and seconds, such as ``1:02:03`` or ``4:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def describe(report: StepReport) -> str:
    """Return a step in one line of less than 80 characters."""
    return (
        f"epoch {report.epoch + 1} step {report.step}/{report.steps}  loss {report.loss:.4f}  "
        f"{report.images_per_second:,.0f} images/s  {duration(report.seconds_left)} left"
    )


@contextmanager
def shown_steps(epochs: int) -> Iterator[Callable[[StepReport], None]]:
    """Yield what a run calls after each step."""
    if sys.stdout.isatty():
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        with Progress(BarColumn(bar_width=None), TaskProgressColumn(), TextColumn("{task.description}")) as bar:
            task = bar.add_task("", total=None)

            def move(report: StepReport) -> None:
                done = report.epoch * report.steps + report.step
                bar.update(task, completed=done, total=epochs * report.steps, description=describe(report))

            yield move
        return
    last = time.monotonic()

    def line(report: StepReport) -> None:
        nonlocal last
        if report.step == report.steps or time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            print(describe(report), flush=True)

    yield line
