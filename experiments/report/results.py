"""The sections with results: a row a configuration, plots, the front, replies, and a row a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from experiments.report.figures import Figure
from experiments.report.markup import Cell, Column, folded, key, paragraph, plot, section, table, text
from experiments.report.pareto import Offer
from experiments.report.seed_groups import SeedGroup
from experiments.report.units import digits, percent, quantity
from experiments.spread import Spread, spread

LABEL = Column("configuration", "what tells it apart from the others", number=False)
CAPTIONS = {
    "rounds": "Against rounds",
    "bytes": "Against bytes sent",
    "flops": "Against computation on a client",
    "simulated": "Against simulated time",
    "seconds": "Against wall-clock time",
}


def label(group: SeedGroup) -> Cell:
    """Return the cell that names a group."""
    return Cell(group.label + ("" if group.finished else " (unfinished)"), group=group.index)


def _spread(found: Spread) -> Cell:
    half = "" if found.half is None else f" ± {percent(found.half)}"
    return Cell(percent(found.mean) + half, found.mean)


def _amount(value: float, unit: str) -> Cell:
    return Cell(quantity(value, unit), value)


def has_clock(groups: Sequence[SeedGroup]) -> bool:
    """Tell whether any run counted simulated seconds."""
    return any(run.summary["simulated_seconds"] is not None for group in groups for run in group.runs)


def _simulated(values: Sequence[float | None]) -> Cell:
    counted = [value for value in values if value is not None]
    return _count(spread(counted).mean) if counted else Cell("")


def _count(value: float) -> Cell:
    return Cell(digits(value), value)


def how_chosen(groups: Sequence[SeedGroup]) -> str:
    """Return the honest line on where accuracies come from."""
    of = {run.summary["accuracy_of"] for group in groups for run in group.runs}
    said = []
    if "test images" in of:
        said.append(
            "Accuracy is that of the test images, in per cent, at the round with the best accuracy on the validation "
            "split: training images that were set aside before the clients got theirs. The test images chose nothing."
        )
    if of - {"test images"}:
        said.append(
            ("Where the clients evaluate" if said else "The clients evaluate")
            + ": accuracy is that of the images that each client holds back, and the same images choose the round, "
            "which flatters it a little."
        )
    if any(len(group.runs) > 1 for group in groups):
        said.append("± is half of the 95 % interval of the mean over seeds (Student's t).")
    return " ".join(said)


def results_section(groups: Sequence[SeedGroup]) -> str:
    """Return the table of configurations."""
    columns = [
        LABEL,
        Column("seeds", "finished runs"),
        Column("accuracy, %", "at the round chosen on validation"),
        Column("validation, %", "accuracy on the images that the round was chosen on"),
        Column("last round, %", "accuracy after the last round"),
        Column("chosen round", "mean over seeds"),
        Column("sent down", "to all clients, over the whole run"),
        Column("sent up", "from all clients, over the whole run"),
        Column("client FLOP", "floating-point operations of one client's local steps, over the whole run"),
        *([Column("simulated s", "by the virtual clock, over the whole run")] if has_clock(groups) else []),
        Column("seconds", "wall-clock, over the whole run"),
    ]
    rows = []
    for group in groups:
        means = {name: group.over_seeds(name).mean for name in ("bytes_down", "bytes_up", "flops_per_client")}
        rows.append(
            [
                label(group),
                Cell(str(len(group.runs) if group.finished else 0), len(group.runs) if group.finished else 0),
                _spread(group.over_seeds("accuracy")),
                _spread(group.over_seeds("validation_accuracy")),
                _spread(group.over_seeds("final_accuracy")),
                _count(group.over_seeds("chosen_round").mean),
                _amount(means["bytes_down"], "B"),
                _amount(means["bytes_up"], "B"),
                _amount(means["flops_per_client"], "FLOP"),
                *([_simulated([run.summary["simulated_seconds"] for run in group.runs])] if has_clock(groups) else []),
                _count(spread([sum(run.summary["seconds"].values()) for run in group.runs]).mean),
            ]
        )
    return section("results", "Results", paragraph(how_chosen(groups)), table(columns, rows, name="Results"))


def legend(groups: Sequence[SeedGroup]) -> str:
    """Return buttons that show and hide groups in every plot."""
    if len(groups) < 2:
        return ""
    keys = "".join(
        f'<button type="button" class="key" data-group="{group.index}" aria-pressed="true">'
        f"{key(group.index, label(group).text)}</button>\n"
        for group in groups
    )
    every = '<button type="button" class="key all" data-all>all</button>\n' if len(groups) > 2 else ""
    return f'<div class="legend" aria-label="show or hide">{keys}{every}</div>\n'


def _choice(name: str, question: str, answers: dict[str, str]) -> str:
    options = "".join(f'<option value="{text(value)}">{text(words)}</option>' for value, words in answers.items())
    return f'<label>{text(question)} <select data-choice="{text(name)}">{options}</select></label>\n'


def curves_section(groups: Sequence[SeedGroup], figures: dict[str, Figure], measures: Sequence[str]) -> str:
    """Return the plots of accuracy along the runs."""
    several = any(len(group.runs) > 1 for group in groups)
    # The 95 % interval of two seeds is 13 times as wide as the two are apart, and would hide all else.
    two = any(len(group.runs) == 2 for group in groups)
    interval, highest = ("interval", "mean ± 95 % interval"), ("range", "lowest to highest")
    bands = dict([highest, interval] if two else [interval, highest]) | {"none": "none"}
    known = {"reported": "reported (test)", "validation": "validation"}
    controls = _choice("bands", "Bands over seeds", bands) if several else ""
    if len(measures) > 1:
        controls += _choice("measure", "Accuracy", {name: known[name] for name in measures})
    words = (
        ("Lines are means over seeds. " if several else "")
        + "The highest point of a line is not its result: the result is taken at the round chosen on validation. "
        "Wall-clock time is that of the machine that played server and clients, whatever else it was doing."
        + (" Simulated time is that of the devices that the configuration gives clients." if has_clock(groups) else "")
    )
    plots = "".join(
        f"<figure><figcaption>{text(CAPTIONS[name])}</figcaption>"
        f"{plot(name, f'Accuracy {CAPTIONS[name].lower()}; the numbers stand in the tables')}</figure>\n"
        for name in figures
    )
    controls = f'<div class="controls">{controls}</div>\n' if controls else ""
    hint = paragraph("Drag over a plot to enlarge a part, double-click to go back.", kind="hint")
    grid = f'<div class="plots">{plots}</div>\n'
    heading = "Accuracy as the runs go on"
    return section("accuracy", heading, paragraph(words), legend(groups), controls, grid, hint)


def front_section(groups: Sequence[SeedGroup], offers: Sequence[Offer]) -> str:
    """Return the Pareto front of accuracy and bytes."""
    words = (
        "Filled points are on the front: no other configuration sends as little and is as accurate. The front goes by "
        "means; where the intervals of two points overlap, their order may be chance."
    )
    columns = [
        LABEL,
        Column("bytes sent", "down and up"),
        Column("accuracy, %"),
        Column("front", number=False),
    ]
    rows = [
        [
            label(offer.group),
            _amount(offer.sent, "B"),
            _spread(offer.accuracy),
            Cell("on the front" if offer.on_front else "", strong=offer.on_front),
        ]
        for offer in offers
    ]
    figure = plot("pareto", "Accuracy against bytes sent; the numbers stand in the table below")
    shown = table(columns, rows, name="Accuracy and bytes")
    heading = "What accuracy costs in bytes"
    return section("front", heading, paragraph(words), legend(groups), f"<figure>{figure}</figure>\n", shown)


def replies_section(groups: Sequence[SeedGroup]) -> str:
    """Return what became of replies, with the reasons of those that were refused."""
    runs = [run for group in groups for run in group.runs]
    asked, refused, lost = (sum(run.summary[name] for run in runs) for name in ("asked", "refused", "lost"))
    heading = "Lost and refused replies"
    if not refused and not lost:
        return section(
            "replies", heading, paragraph(f"None: all {asked:,} messages to clients were answered and used.")
        )
    columns = {
        "asked": Column("asked"),
        "lost": Column("lost", "no answer, or too late"),
        "late": Column("late", "of the lost: past the virtual clock's deadline"),
        "refused": Column("refused", "not usable"),
    }
    if not has_clock(groups):
        del columns["late"]
    rows = [
        [label(group)] + [_count(sum(run.summary[name] for run in group.runs)) for name in columns] for group in groups
    ]
    reasons = Counter(reason for run in runs for record in run.records for reason in record.reasons)
    listed = [[Cell(f"{times:,}", times), Cell(reason)] for reason, times in reasons.most_common(200)]
    why = table([Column("times"), Column("reason", number=False)], listed, name="Reasons") if listed else ""
    words = "A lost or refused reply costs its own client's step in that round; counts are over all seeds and rounds."
    figure = f"<figure>{plot('missing', 'Share of replies lost or refused by round')}</figure>\n"
    return section(
        "replies", heading, paragraph(words), table([LABEL, *columns.values()], rows, name=heading), figure, why
    )


def runs_section(groups: Sequence[SeedGroup]) -> str:
    """Return a row a run, with the entries of its summary."""
    columns = [
        LABEL,
        Column("seed"),
        Column("accuracy, %", "at the chosen round"),
        Column("validation, %", "at the chosen round"),
        Column("last round, %", "accuracy after the last round"),
        Column("chosen round"),
        Column("rounds"),
        Column("sent down"),
        Column("sent up"),
        Column("client FLOP"),
        *([Column("simulated s", "by the virtual clock"), Column("late")] if has_clock(groups) else []),
        Column("lost"),
        Column("refused"),
        Column("seconds", "wall-clock"),
        Column("folder", number=False),
    ]
    rows = []
    for group in groups:
        for run in group.runs:
            found = run.summary
            late = Cell(str(found["late"]), found["late"])
            rows.append(
                [
                    label(group),
                    Cell(str(run.seed), run.seed),
                    *(
                        Cell(percent(found[name]), found[name])
                        for name in ("accuracy", "validation_accuracy", "final_accuracy")
                    ),
                    *(Cell(str(found[name]), found[name]) for name in ("chosen_round", "rounds")),
                    *(_amount(found[name], "B") for name in ("bytes_down", "bytes_up")),
                    _amount(found["flops_per_client"], "FLOP"),
                    *([_simulated([found["simulated_seconds"]]), late] if has_clock(groups) else []),
                    *(Cell(str(found[name]), found[name]) for name in ("lost", "refused")),
                    _count(sum(found["seconds"].values())),
                    Cell(run.name),
                ]
            )
    shown = table(columns, rows, name="Every run")
    return section("runs", "Every run", folded(f"{len(rows)} runs", shown) if len(rows) > 12 else shown)
