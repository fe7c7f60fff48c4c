"""Work on slices of large arrays in several threads: NumPy releases the interpreter's lock while it computes."""

from __future__ import annotations

import os
from collections.abc import Callable

WORTHWHILE = 1 << 19
"""Below this many operations, starting a thread costs more than it saves."""


def in_threads(part: Callable[[slice], None], size: int, *, work: int) -> None:
    """Call a function on slices that divide 0 to ``size``, at once; its result must not depend on the division.

    There are as many threads as ``OMP_NUM_THREADS`` says, else as the process has cores. Threads end with the call: a
    waiting thread would be missing in a forked process.

    Parameters
    ----------
    part
        Works on one slice.
    size
        Number of coordinates.
    work
        Number of operations in all.
    """
    count = min(thread_count(), size, work // WORTHWHILE)
    if count < 2:
        part(slice(0, size))
        return
    from concurrent.futures import ThreadPoolExecutor

    ends = [size * number // count for number in range(count + 1)]
    with ThreadPoolExecutor(count - 1) as threads:
        others = [threads.submit(part, slice(*ends[number : number + 2])) for number in range(1, count)]
        part(slice(*ends[:2]))
        for other in others:
            other.result()


def thread_count() -> int:
    """Return how many threads the environment allows, 1 or more."""
    try:
        return max(1, int(os.environ["OMP_NUM_THREADS"]))
    except (KeyError, ValueError):
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
