"""What the command's options come to, for every suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Options that suites share.

    Parameters
    ----------
    out
        Folder of the results; run folders are made and removed below it.
    quick
        Tiny sizes: the shape of the results, not their meaning.
    device
        Where the arithmetic runs.
    data_dir
        Folder of CIFAR-10 for suite ``startup``; empty means the embedded digits.
    peers
        Name of another tool -> the Python that has it; none are timed without ``--peers``.
    told
        Hears of progress.
    """

    out: Path
    quick: bool = False
    device: str = "cpu"
    data_dir: str = ""
    peers: Mapping[str, Path] = field(default_factory=dict)
    told: Callable[[str], None] = print
