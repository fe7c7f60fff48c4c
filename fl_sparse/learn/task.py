"""A client's job and its result, the same for a device and for a simulated cohort.

A job is a *task*, which all jobs of a run share, a *part* of the model (its values, factors and prefixes), and the
*state* that the client's optimiser goes on from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.model.mlp import MLPSpec

Parameters = Mapping[str, NDArray[np.float32]]
OptimizerMoments = Mapping[str, Parameters]
"""Moment (``first`` and ``second`` of Adam, ``momentum`` of SGD) -> parameter -> values of the parameter's shape."""


@dataclass(frozen=True)
class Task:
    """How parts are trained, in every round of a run.

    Parameters
    ----------
    activation, normalization
        The network's functions (`fl_sparse.model.mlp.MLPSpec`).
    optimizer
        The optimiser.
    local_steps, batch_size
        τ, and the examples of a step.
    seed
        Batches and prefixes are drawn from it.
    absent_classes
        What happens to the logits of classes that the client lacks (`fl_sparse.learn.absent_classes`). Unless
        ``trained``, the reply names the classes that the client holds.
    self_distillation
        Ordered dropout: whether the prefix learns from the whole part, which learns from the labels.
    """

    activation: str
    normalization: str
    optimizer: OptimizerSpec
    local_steps: int
    batch_size: int
    seed: int
    absent_classes: str = "trained"
    self_distillation: bool = False


@dataclass(frozen=True)
class HeldPart:
    """A client's part of the model.

    Parameters
    ----------
    parameters
        The part's values.
    scales
        One factor a layer, output included: z = c W h + b.
    prefixes
        Ordered dropout: each step draws one of these and trains that many first units of each shared axis; () = all.
    """

    parameters: Parameters = field(repr=False)
    scales: tuple[float, ...]
    prefixes: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class CarriedState:
    """The state that an optimiser goes on from; without moments it starts anew and returns none.

    Parameters
    ----------
    moments
        The moments of the part's parameters.
    steps_taken
        t, the steps behind the moments: Adam corrects by 1 − β^t.
    """

    moments: OptimizerMoments = field(default_factory=dict, repr=False)
    steps_taken: int = 0


FRESH = CarriedState()


@dataclass(frozen=True)
class TrainingJob:
    """Task, part and state; ``first_step`` is the local step that the job begins with, counted over rounds."""

    task: Task
    first_step: int
    part: HeldPart
    state: CarriedState = FRESH


def mlp_of(job: TrainingJob) -> MLPSpec:
    """Return the MLP that a job trains, with sizes read off the job's parameters."""
    task = job.task
    return MLPSpec.of_parameters(job.part.parameters, activation=task.activation, normalization=task.normalization)


@dataclass(frozen=True)
class Trained:
    """The result of a job.

    Parameters
    ----------
    parameters
        The trained values, as arrays or factored.
    num_examples
        n_k.
    loss
        Mean over the local steps of the batches' mean cross-entropy.
    moments
        The optimiser's moments after the last step, if the job carried some.
    classes
        The classes that the client holds, ascending, if the task asks; its output rows of other classes do not count.
    """

    parameters: Mapping[str, Any] = field(repr=False)
    num_examples: int
    loss: float
    moments: OptimizerMoments = field(default_factory=dict, repr=False)
    classes: tuple[int, ...] | None = None
