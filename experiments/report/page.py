"""The whole page: one HTML file with its styles, scripts and data, and nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from experiments.report import circumstances, client_sections, costs, results
from experiments.report.curves import curve, held_out, reported
from experiments.report.evidence import Evidence, Problem, Tuning
from experiments.report.figures import COLOURS, DASHES, Figure, accuracy_figures, missing_figure, pareto_figure
from experiments.report.pareto import offers
from experiments.report.seed_groups import SeedGroup, group_seeds
from experiments.report.units import counted

# A browser loads nothing for the page; `data:` and `blob:` are pictures in the page, and plots that a reader saves.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True)
class Report:
    """What the page shows."""

    title: str
    groups: tuple[SeedGroup, ...]
    problems: tuple[Problem, ...]
    evidence: Evidence


def make_report(title: str, evidence: Evidence) -> Report:
    """Return the report of the evidence, its runs grouped over seeds."""
    groups, repeated = group_seeds(evidence.runs)
    return Report(title, groups, (*evidence.problems, *repeated), evidence)


def render(report: Report) -> str:
    """Return the HTML; the same evidence gives the same bytes."""
    values, figures = _sections(report.groups, report.evidence.tunings) if report.groups else ({"results": None}, {})
    here = Path(__file__).parent
    template = _environment(here / "templates").get_template("page.html.j2")
    return template.render(
        values,
        policy=POLICY,
        title=report.title,
        facts=_facts(report.groups),
        problems=circumstances.problems_table(report.problems),
        problem_count=counted(len(report.problems), "run"),
        figures=figures,
        style=(here / "page.css").read_text(encoding="utf-8"),
        script=(here / "page.js").read_text(encoding="utf-8"),
        plotly=_plotly() if figures else "",
    )


def _environment(templates: Path) -> Environment:
    """Return an environment whose templates escape every value and refuse names that nobody gave."""
    environment = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"colours": COLOURS, "strokes": tuple(DASHES.values())}
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment


def _sections(groups: Sequence[SeedGroup], tunings: Sequence[Tuning]) -> tuple[dict[str, Any], dict[str, Figure]]:
    """Return what the templates show of one or more groups, and the figures in the order of their places."""
    measured = {
        name: {group.index: found for group in groups if (found := curve(group, measure)) is not None}
        for name, measure in (("reported", reported), ("validation", held_out))
    }
    curves = {name: found for name, found in measured.items() if found}
    runs = [run for group in groups for run in group.runs]
    made = offers(groups)
    along = accuracy_figures(groups, curves)
    front = results.front_table(made) if len(made) > 1 else None
    clients = client_sections.accuracy_table(groups)
    replies = results.replies_table(groups)
    splits = client_sections.splits_of(groups)
    differences, shared = circumstances.differences_tables(groups)
    figures = dict(along)
    if front:
        figures["pareto"] = pareto_figure(made)
    if clients:
        figures["clients"] = client_sections.accuracy_figure(groups)
    if replies:
        figures["missing"] = missing_figure(groups)
    figures |= {split.name: split.figure for split in splits if split.figure}
    values = {
        "accuracy_of": list(dict.fromkeys(run.summary["accuracy_of"] for run in runs)),
        "several_seeds": any(len(group.runs) > 1 for group in groups),
        "clock": results.has_clock(groups),
        "results": results.results_table(groups),
        "controls": results.controls(groups, curves),
        "captions": {name: results.CAPTIONS[name] for name in along},
        "front": front,
        "costs": costs.costs_table(groups),
        "layers": costs.layers_table(groups),
        "clients": clients,
        "differences": differences,
        "shared": shared,
        "tuned": [(tuning.comparison, circumstances.tuning_table(tuning)) for tuning in tunings],
        "steps_tuned": any("local-steps" in tuning.keys for tuning in tunings),
        "replies": replies,
        "reasons": results.reasons_table(runs),
        "asked": f"{sum(run.summary['asked'] for run in runs):,}",
        "splits": splits,
        "runs": results.runs_table(groups),
        "environment": circumstances.environment_table(runs),
    }
    return values, figures


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs()).replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _facts(groups: Sequence[SeedGroup]) -> list[str]:
    runs = [run for group in groups for run in group.runs]
    if not runs:
        return []
    return [
        counted(len(groups), "configuration"),
        counted(sum(run.finished for run in runs), "finished run"),
        "data: " + ", ".join(sorted({str(run.config["dataset"]) for run in runs})),
        "rounds: " + _span([int(run.config["num-server-rounds"]) for run in runs]),
        "clients: " + _span([run.records[0].asked for run in runs]),
    ]


def _span(values: Sequence[int]) -> str:
    return f"{min(values):,}" if min(values) == max(values) else f"{min(values):,} to {max(values):,}"
