"""Count what an operation launches of torch."""

from __future__ import annotations

from collections.abc import Callable

import torch


def kernels_of(operation: Callable[[], object]) -> int:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        operation()
    # A tensor made around a client's NumPy array launches nothing.
    return sum(
        event.count
        for event in profile.key_averages()
        if event.key.startswith("aten::") and event.key != "aten::lift_fresh"
    )
