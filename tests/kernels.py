"""Count what an operation launches of torch."""

from __future__ import annotations

from collections.abc import Callable

import torch

NO_KERNELS = {"aten::lift_fresh", "aten::select", "aten::as_strided"}
"""A tensor made around a client's NumPy array, or that is a client's part of a stack: neither launches anything."""


def kernels_of(operation: Callable[[], object]) -> int:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        operation()
    return sum(
        event.count
        for event in profile.key_averages()
        if event.key.startswith("aten::") and event.key not in NO_KERNELS
    )
