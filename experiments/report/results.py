"""What the sections with results show: configurations, choices for the plots, the front, replies and runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from experiments.report.evidence import Run
from experiments.report.pareto import Offer
from experiments.report.seed_groups import SeedGroup
from experiments.report.table import LABEL, Cell, Column, Table, accuracy, amount, label, number, table_of
from experiments.report.units import percent
from experiments.spread import spread

CAPTIONS = {
    "rounds": "Against rounds",
    "bytes": "Against bytes sent",
    "flops": "Against computation on a client",
    "simulated": "Against simulated time",
    "seconds": "Against wall-clock time",
}
MEASURES = {"reported": "reported (test)", "validation": "validation"}


def has_clock(groups: Sequence[SeedGroup]) -> bool:
    """Tell whether any run counted simulated seconds."""
    return any(run.summary["simulated_seconds"] is not None for group in groups for run in group.runs)


def results_table(groups: Sequence[SeedGroup]) -> Table:
    """Return a row for each configuration."""

    def spread_of(name: str) -> Callable[[SeedGroup], Cell]:
        return lambda group: accuracy(group.over_seeds(name))

    def mean_of(name: str, unit: str) -> Callable[[SeedGroup], Cell]:
        return lambda group: amount(group.over_seeds(name).mean, unit)

    columns: dict[Column, Callable[[SeedGroup], Cell]] = {
        LABEL: label,
        Column("seeds", "finished runs"): lambda group: number(len(group.runs) if group.finished else 0, str),
        Column("accuracy, %", "at the round chosen on validation"): spread_of("accuracy"),
        Column("validation, %", "accuracy on the images that the round was chosen on"): spread_of(
            "validation_accuracy"
        ),
        Column("last round, %", "accuracy after the last round"): spread_of("final_accuracy"),
        Column("chosen round", "mean over seeds"): lambda group: number(group.over_seeds("chosen_round").mean),
        Column("sent down", "to all clients, over the whole run"): mean_of("bytes_down", "B"),
        Column("sent up", "from all clients, over the whole run"): mean_of("bytes_up", "B"),
        Column("client FLOP", "floating-point operations of one client's local steps, over the whole run"): mean_of(
            "flops_per_client", "FLOP"
        ),
    }
    if has_clock(groups):
        columns[Column("simulated s", "by the virtual clock, over the whole run")] = lambda group: _simulated(
            group.runs
        )
    columns[Column("seconds", "wall-clock, over the whole run")] = lambda group: number(
        spread([_seconds(run) for run in group.runs]).mean
    )
    return table_of("Results", columns, groups)


def _simulated(runs: Iterable[Run]) -> Cell:
    counted = [seconds for run in runs if (seconds := run.summary["simulated_seconds"]) is not None]
    return number(spread(counted).mean if counted else None)


def _seconds(run: Run) -> float:
    return float(sum(run.summary["seconds"].values()))


@dataclass(frozen=True)
class Control:
    """A choice above the plots: its name in page.js, the question, and the answers by value, the first one chosen."""

    name: str
    question: str
    answers: dict[str, str]


def controls(groups: Sequence[SeedGroup], measures: Iterable[str]) -> list[Control]:
    """Return the choices that these groups' plots leave: bands where there are seeds, and one of several measures."""
    made = []
    sizes = {len(group.runs) for group in groups}
    if max(sizes) > 1:
        bands = {"interval": "mean ± 95 % interval", "range": "lowest to highest"}
        # The 95 % interval of two seeds is 13 times as wide as the two are apart, and would hide all else.
        order = ("range", "interval") if 2 in sizes else ("interval", "range")
        made.append(Control("bands", "Bands over seeds", {name: bands[name] for name in order} | {"none": "none"}))
    answers = {name: MEASURES[name] for name in measures}
    return [*made, Control("measure", "Accuracy", answers)] if len(answers) > 1 else made


def front_table(offers: Sequence[Offer]) -> Table:
    """Return a row for each point of accuracy and bytes."""
    columns: dict[Column, Callable[[Offer], Cell]] = {
        LABEL: lambda offer: label(offer.group),
        Column("bytes sent", "down and up"): lambda offer: amount(offer.sent, "B"),
        Column("accuracy, %"): lambda offer: accuracy(offer.accuracy),
        Column("front", number=False): lambda offer: Cell(
            "on the front" if offer.on_front else "", strong=offer.on_front
        ),
    }
    return table_of("Accuracy and bytes", columns, offers)


def replies_table(groups: Sequence[SeedGroup]) -> Table | None:
    """Return what became of replies, or None if none was lost or refused."""
    if not any(run.summary[name] for group in groups for run in group.runs for name in ("refused", "lost")):
        return None

    def total(name: str) -> Callable[[SeedGroup], Cell]:
        return lambda group: number(sum(run.summary[name] for run in group.runs))

    columns = {LABEL: label, Column("asked"): total("asked"), Column("lost", "no answer, or too late"): total("lost")}
    if has_clock(groups):
        columns[Column("late", "of the lost: past the virtual clock's deadline")] = total("late")
    columns[Column("refused", "not usable")] = total("refused")
    return table_of("Lost and refused replies", columns, groups)


def reasons_table(runs: Iterable[Run]) -> Table:
    """Return the most frequent reasons why replies were lost or refused."""
    reasons = Counter(reason for run in runs for record in run.records for reason in record.reasons)
    rows = [[Cell(f"{times:,}", times), Cell(reason)] for reason, times in reasons.most_common(200)]
    return Table("Reasons", [Column("times"), Column("reason", number=False)], rows)


def runs_table(groups: Sequence[SeedGroup]) -> Table:
    """Return a row for each run, with the entries of its summary."""

    def entry(name: str, written: Callable[[float], str] = str) -> Callable[[Run], Cell]:
        return lambda run: number(run.summary[name], written)

    def sent(name: str, unit: str) -> Callable[[Run], Cell]:
        return lambda run: amount(run.summary[name], unit)

    columns: dict[Column, Callable[[Run], Cell]] = {
        Column("seed"): lambda run: number(run.seed, str),
        Column("accuracy, %", "at the chosen round"): entry("accuracy", percent),
        Column("validation, %", "at the chosen round"): entry("validation_accuracy", percent),
        Column("last round, %", "accuracy after the last round"): entry("final_accuracy", percent),
        Column("chosen round"): entry("chosen_round"),
        Column("rounds"): entry("rounds"),
        Column("sent down"): sent("bytes_down", "B"),
        Column("sent up"): sent("bytes_up", "B"),
        Column("client FLOP"): sent("flops_per_client", "FLOP"),
    }
    if has_clock(groups):
        columns[Column("simulated s", "by the virtual clock")] = lambda run: _simulated([run])
        columns[Column("late")] = entry("late")
    columns |= {
        Column("lost"): entry("lost"),
        Column("refused"): entry("refused"),
        Column("seconds", "wall-clock"): lambda run: number(_seconds(run)),
        Column("folder", number=False): lambda run: Cell(run.name),
    }
    rows = [[label(group), *(make(run) for make in columns.values())] for group in groups for run in group.runs]
    return Table("Every run", [LABEL, *columns], rows)
