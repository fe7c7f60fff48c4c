"""Run the cells of a comparison: kept if finished, resumed if cut off, in parallel where cores allow."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.compare.grid import Cell
from fl_sparse.config import RunConfig, from_mapping, to_mapping
from fl_sparse.errors import InputError
from server.launch import Launch
from server.records import RoundRecord
from server.run_folder import RunFolder

Told = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """A cell's result: its summary, or why there is none."""

    cell: Cell
    summary: dict[str, Any] | None = field(repr=False)
    failure: str = ""


def run_cells(cells: Sequence[Cell], folder: Path, *, jobs: int, told: Told) -> list[Outcome]:
    """Run every cell; one that fails is reported, and the others finish.

    Returns
    -------
    Outcomes in the order of the cells.

    Raises
    ------
    InputError
        If two cells would share a folder, since their values differ only in characters that folders' names lack.
    """
    name, count = Counter(cell.name for cell in cells).most_common(1)[0]
    if count > 1:
        raise InputError(f"two cells would share the folder {name}; choose values whose letters or digits differ")
    began = time.monotonic()
    fresh = sum(1 for cell in cells if not RunFolder(folder / cell.name).summary_file.exists())
    if fresh < len(cells):
        told(f"{len(cells) - fresh} of {len(cells)} cells are finished already")
    outcomes: dict[str, Outcome] = {}
    ran = 0
    for cell, summary, failure, was_fresh in _results(cells, folder, jobs):
        outcomes[cell.name] = Outcome(cell, summary, failure)
        ran += was_fresh
        if was_fresh:
            left = (time.monotonic() - began) / ran * (fresh - ran)
            accuracy = "" if not summary or summary["accuracy"] is None else f"  accuracy {summary['accuracy']:.2%}"
            said = f"failed: {failure}" if failure else "done" + accuracy
            told(f"[{len(outcomes)}/{len(cells)}] {cell.name}  {said}  ({_duration(left)} left)")
    return [outcomes[cell.name] for cell in cells]


def _results(cells: Sequence[Cell], folder: Path, jobs: int) -> Iterator[tuple[Cell, dict[str, Any] | None, str, bool]]:
    waiting = []
    for cell in cells:
        kept = RunFolder(folder / cell.name).summary_file
        if kept.exists():
            yield cell, json.loads(kept.read_text(encoding="utf-8")), "", False
        else:
            waiting.append(cell)
    if jobs == 1:
        for cell in waiting:
            yield cell, *_attempt(to_mapping(cell.config), folder / cell.name), True
        return
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_limit_threads, initargs=(threads,)) as pool:
        running = {pool.submit(_attempt, to_mapping(cell.config), folder / cell.name): cell for cell in waiting}
        for done in as_completed(running):
            yield running[done], *done.result(), True


def _attempt(values: dict[str, Any], path: Path) -> tuple[dict[str, Any] | None, str]:
    """Run one cell; return its summary, or why it failed."""
    try:
        return _run(from_mapping(values, source="comparison"), path), ""
    except InputError as error:
        return None, str(error)
    except Exception as error:  # a comparison reports any failure of a cell, and goes on
        return None, f"{type(error).__name__}: {error}".splitlines()[0]


def _run(config: RunConfig, path: Path) -> dict[str, Any]:
    from client.app import app, train
    from fl_sparse.array_ops import TorchOps
    from server.simulation import simulate

    cut_off = RunFolder(path).config_file.exists()
    launch = Launch(resume=str(path)) if cut_off else Launch(out=str(path.parent), name=path.name)
    launch.check(config, path.name)
    return simulate(config, launch, path, app, train, TorchOps(), _Silent())


class _Silent:
    """A watcher that says nothing: cells report when they are done."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def round(self, record: RoundRecord, total: int) -> None:
        """Say nothing."""


def _limit_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
