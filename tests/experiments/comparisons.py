"""A small comparison of the demo recipe, from the command line."""

from __future__ import annotations

import itertools
from pathlib import Path

from experiments.__main__ import main

SMALL = ("hidden-widths=24,20", "num-server-rounds=2", "local-steps=2", "batch-size=16", "num-clients=3")


def compare(encoder: str, out: Path, *more: str) -> int:
    """Run ``compare`` with `SMALL`, but for keys that take several values; return its exit code."""
    several = {text.split("=")[0] for option, text in itertools.pairwise(more) if option in ("--vary", "--tune")}
    if more and more[-1] == "--tune":  # its own grid has this key
        several.add("local-steps")
    set_once = [f"encoder={encoder}", *(text for text in SMALL if text.split("=")[0] not in several)]
    keys = [part for text in set_once for part in ("-c", text)]
    return main(["compare", "demo", *keys, "--out", str(out), *more])
