"""The whole page: one HTML file with its styles, scripts and data, and nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.report import circumstances, client_sections, results
from experiments.report.costs import costs_section
from experiments.report.curves import curve, held_out, reported
from experiments.report.evidence import Evidence, Problem
from experiments.report.figures import Figure, accuracy_figures, missing_figure, pareto_figure
from experiments.report.markup import data, paragraph, text
from experiments.report.pareto import offers
from experiments.report.seed_groups import SeedGroup, group_seeds

# Whatever the page holds, a browser loads nothing for it; `blob:` and `data:` are the plots' own pictures for saving.
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
    """Group the evidence."""
    groups, repeated = group_seeds(evidence.runs)
    return Report(title, groups, (*evidence.problems, *repeated), evidence)


def render(report: Report) -> str:
    """Return the HTML; the same evidence gives the same bytes."""
    figures: dict[str, Figure] = {}
    body = ""
    groups = report.groups
    if groups:
        measured = {
            name: {group.index: found for group in groups if (found := curve(group, measure)) is not None}
            for name, measure in (("reported", reported), ("validation", held_out))
        }
        curves = {name: found for name, found in measured.items() if found}
        along = accuracy_figures(groups, curves)
        made = offers(groups)
        figures = {**along}
        body += results.results_section(groups) + results.curves_section(groups, along, list(curves))
        if len(made) > 1:
            figures["pareto"] = pareto_figure(made)
            body += results.front_section([offer.group for offer in made], made)
        body += costs_section(groups)
        if by_client := client_sections.accuracy_section(groups):
            figures["clients"] = client_sections.accuracy_figure(groups)
            body += by_client
        if 'data-figure="missing"' in (replies := results.replies_section(groups)):
            figures["missing"] = missing_figure(groups)
        body += circumstances.differences_section(groups) + circumstances.tuning_section(report.evidence.tunings)
        splits, split_figures = client_sections.split_section(groups)
        figures |= split_figures
        body += replies + splits
    body += circumstances.problems_section(report.problems)
    if groups:
        body += results.runs_section(groups)
        body += circumstances.environment_section([run for group in groups for run in group.runs])
    return _document(report, body, figures)


def _document(report: Report, body: str, figures: dict[str, Figure]) -> str:
    here = Path(__file__).parent
    style = (here / "page.css").read_text(encoding="utf-8")
    script = (here / "page.js").read_text(encoding="utf-8")
    plotly = f"<script>{_plotly()}</script>\n" if figures else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{text(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{text(report.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"{_heading(report)}{body}</main>\n{data('figures', figures)}{plotly}<script>\n{script}</script>\n"
        "</body>\n</html>\n"
    )


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs()).replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _heading(report: Report) -> str:
    runs = [run for group in report.groups for run in group.runs]
    facts = []
    if runs:
        facts.append(_counted(len(report.groups), "configuration"))
        facts.append(_counted(sum(run.finished for run in runs), "finished run"))
        facts.append("data: " + ", ".join(sorted({str(run.config["dataset"]) for run in runs})))
        facts.append("rounds: " + _span([int(run.config["num-server-rounds"]) for run in runs]))
        facts.append("clients: " + _span([run.records[0].asked for run in runs]))
    listed = "".join(f"<li>{text(fact)}</li>" for fact in facts)
    parts = f"<header>\n<h1>{text(report.title)}</h1>\n<ul class='facts'>{listed}</ul>\n"
    if report.problems:
        words = _counted(len(report.problems), "run") + " failed, did not finish or could not be used: see why"
        parts += f'<p class="warning"><a href="#problems">{text(words)}</a></p>\n'
    if not runs:
        parts += paragraph("No run has a result to show.")
    without = "Without JavaScript the tables are complete, but there are no plots."
    return parts + f"<noscript><p class='warning'>{without}</p></noscript>\n</header>\n"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _span(values: Sequence[int]) -> str:
    return f"{min(values):,}" if min(values) == max(values) else f"{min(values):,} to {max(values):,}"
