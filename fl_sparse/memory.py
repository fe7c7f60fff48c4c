"""Available memory, so that work that cannot fit is refused before it starts."""

from __future__ import annotations

import os
from pathlib import Path

from fl_sparse.errors import InputError

MEMINFO = Path("/proc/meminfo")


def available_memory() -> int | None:
    """Return the bytes of memory that new work can take, None if the system does not say.

    On Linux, the estimate of memory available without swapping (``MemAvailable``, proc(5)); elsewhere, all installed.
    """
    try:
        for line in MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def check_memory(needed: int, what: str, advice: str, available: int | None) -> None:
    """Refuse work that takes more bytes than are available; ``available`` is None if unknown.

    Raises
    ------
    InputError
        With the estimate.
    """
    if available is not None and needed > available:
        raise InputError(
            f"{what} take about {needed / 1e9:.3g} GB of memory; {available / 1e9:.3g} GB are available. {advice}"
        )
