"""A process started, waited for and accounted: its time from start to exit, its peak memory, and what it said."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ended:
    """A process that ended well."""

    seconds: float
    said: Mapping[str, Any] = field(repr=False)
    """The JSON object of its last line on standard output."""


def run_child(module: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Ended:
    """Run ``python -m module`` to its end.

    Raises
    ------
    RuntimeError
        With the process's last words, if it failed.
    """
    command = [sys.executable, "-m", module, *arguments]
    wanted = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=wanted, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.strip()]
        raise RuntimeError(f"{module} ended with code {done.returncode}: {words[-1] if words else 'no word of why'}")
    return Ended(seconds, json.loads(done.stdout.splitlines()[-1]))


def resident_bytes() -> int:
    """Return this process's resident set (Linux)."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


def peak_bytes() -> int:
    """Return this process's largest resident set so far (Linux).

    Not ``ru_maxrss``: a process inherits that of the one that started it.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024
