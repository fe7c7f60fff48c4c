"""From a configuration and a placement to what clients are told: task, job, work, evaluation."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from fl_sparse.config import RunConfig
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.learn.task import FRESH, CarriedState, HeldPart, Parameters, Task, TrainingJob
from fl_sparse.model.cost import Workload, examples_trained, workload
from fl_sparse.model.mlp import layer_scales
from fl_sparse.model.network import NetworkSpec
from fl_sparse.model.parameters import Model
from fl_sparse.part import WHOLE, Part
from fl_sparse.wire import EvaluationOrder, Standardizing
from strategies.round.groups import Placement


def optimizer_of(config: RunConfig) -> OptimizerSpec:
    """Return the clients' optimiser."""
    return OptimizerSpec(config.optimizer, config.learning_rate, config.momentum, config.proximal)


@functools.lru_cache(maxsize=16)
def task_of(config: RunConfig) -> Task:
    """Return what all clients of a run do."""
    return Task(
        activation=config.activation,
        normalization=config.normalization,
        optimizer=optimizer_of(config),
        local_steps=config.local_steps,
        batch_size=config.batch_size,
        seed=config.seed,
        absent_classes=config.absent_classes,
        self_distillation=config.self_distillation,
    )


def training_job(
    config: RunConfig,
    network: NetworkSpec,
    round_number: int,
    placement: Placement,
    values: Parameters,
    state: CarriedState = FRESH,
) -> TrainingJob:
    """Return the job that trains a placement's part from these values."""
    axes, rule = network.shared_axes, config.scale if placement.scaled else "none"
    held = [
        size if axis not in placement.part.units else len(placement.part.units[axis]) for axis, size in axes.items()
    ]
    part = HeldPart(values, layer_scales(held, [*axes.values()], rule), placement.prefixes)
    return TrainingJob(task_of(config), (round_number - 1) * config.local_steps, part, state)


def evaluation_order(
    config: RunConfig, network: NetworkSpec, round_number: int, parameters: Parameters, standardizing: Standardizing
) -> EvaluationOrder:
    """Return the order to evaluate the whole model; ``standardizing`` is for nodes that never trained."""
    job = training_job(config, network, round_number, Placement(WHOLE, scaled=False), parameters)
    return EvaluationOrder(round_number, replace(job, task=replace(job.task, absent_classes="trained")), standardizing)


def job_workload(axes: Iterable[str], model: Model, job: TrainingJob, num_examples: int) -> Workload:
    """Return the work of a job's local steps on a client of so many examples; ``model`` is the part's.

    ``axes`` are the shared axes: a prefix of the job has one number for each.
    """
    task = job.task
    examples = examples_trained(num_examples, task.batch_size, first_step=job.first_step, steps=task.local_steps)
    prefixes = (Part(dict(zip(axes, map(np.arange, widths), strict=False))) for widths in job.part.prefixes)
    drawn = [prefix.model(model) for prefix in prefixes]
    return workload(model, examples, drawn, self_distillation=task.self_distillation)
