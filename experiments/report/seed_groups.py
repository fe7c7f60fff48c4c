"""Runs that differ in their seed alone belong together: one line of a table, one curve with its band."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from experiments.report.evidence import Problem, Run
from experiments.spread import Spread, spread
from fl_sparse.config import FIELDS
from fl_sparse.config.values import Scalar


@dataclass(frozen=True)
class SeedGroup:
    """Runs of one configuration over seeds.

    ``runs`` are the finished runs. If none is finished, they are the unfinished ones, as far as they came.
    """

    index: int
    label: str
    recipe: str
    config: Mapping[str, Scalar]
    runs: tuple[Run, ...]

    @property
    def finished(self) -> bool:
        """Whether the runs are finished."""
        return self.runs[0].finished

    def over_seeds(self, name: str) -> Spread:
        """Return a summary entry's mean and spread over seeds."""
        return spread([run.summary[name] for run in self.runs if run.summary[name] is not None])


def group_seeds(runs: Sequence[Run]) -> tuple[tuple[SeedGroup, ...], tuple[Problem, ...]]:
    """Group runs by recipe and configuration without its seed, in order of appearance.

    Returns
    -------
    The groups, and a problem for every run that repeats another's configuration and seed: counting both would make
    the spread over seeds look smaller than it is.
    """
    grouped: dict[tuple[object, ...], dict[int, Run]] = {}
    problems = []
    for run in runs:
        seeds = grouped.setdefault((run.recipe, *_unseeded(run).items()), {})
        known = seeds.get(run.seed)
        if known is None or (run.finished and not known.finished):
            seeds[run.seed] = run
        if known is not None:
            left_out, kept = (known, run) if seeds[run.seed] is run else (run, known)
            there = kept.name if kept.name != left_out.name else kept.folder
            reason = f"same configuration and seed as {there}; left out of averages and tables"
            problems.append(Problem(left_out.name, "repeated", reason))
    members = [tuple(seeds.values()) for seeds in grouped.values()]
    chosen = [tuple(run for run in group if run.finished) or group for group in members]
    firsts = [group[0] for group in chosen]
    labels = _labels(firsts)
    groups = tuple(
        SeedGroup(index, label, group[0].recipe, _unseeded(group[0]), group)
        for index, (label, group) in enumerate(zip(labels, chosen, strict=True))
    )
    return groups, tuple(problems)


def _unseeded(run: Run) -> dict[str, Scalar]:
    return {key: value for key, value in run.config.items() if key != "seed"}


def differing(configs: Iterable[Mapping[str, Scalar]]) -> list[str]:
    """Return the keys that do not have one value in all configurations, in the order of the configuration."""
    listed = list(configs)
    return [key for key in FIELDS if key != "seed" and len({config[key] for config in listed}) > 1]


def plain(value: Scalar) -> str:
    """Return a configuration's value as people write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _labels(runs: Sequence[Run]) -> list[str]:
    """Return what tells the runs apart: the recipe if there are several, then the keys that differ within it."""
    recipes = {run.recipe for run in runs}
    labels = []
    for run in runs:
        keys = differing(other.config for other in runs if other.recipe == run.recipe)
        parts = [run.recipe] if len(recipes) > 1 and run.recipe else []
        parts += [f"{key}={plain(run.config[key])}" for key in keys]
        labels.append(" ".join(parts) or run.recipe or run.name)
    return labels
