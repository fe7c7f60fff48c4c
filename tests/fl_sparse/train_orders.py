"""Jobs and orders to train, with what a test does not care about filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.learn.task import FRESH, CarriedState, HeldPart, Task, TrainingJob
from fl_sparse.wire import Standardizing, TrainOrder

TASK = Task("relu", "none", OptimizerSpec("sgd", 0.1), local_steps=2, batch_size=4, seed=0)


def training_job(
    parameters: Mapping[str, np.ndarray],
    *,
    scales: tuple[float, ...] = (1.0, 1.0),
    prefixes: tuple[tuple[int, ...], ...] = (),
    first_step: int = 0,
    state: CarriedState = FRESH,
    **task: object,
) -> TrainingJob:
    """Return a job for an MLP with one hidden layer: two steps of SGD on four examples."""
    return TrainingJob(replace(TASK, **task), first_step, HeldPart(parameters, scales, prefixes), state)


def order(job: TrainingJob, **changes: object) -> TrainOrder:
    """Return the first round's order for a job, without a standardizer."""
    return replace(TrainOrder(1, 0, job, Standardizing(expected=False)), **changes)
