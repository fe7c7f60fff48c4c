"""The probe's table, file and plot."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from fl_sparse.probe.measurement import READOUTS, Measurement

Row = tuple[str, str, str]
WIDEST_NAME = 24
TITLES = {"linear": "linear probe", "ridge": "ridge regression", "knn": "20 nearest neighbours"}


def summarize(measurements: Sequence[Measurement]) -> dict[Row, dict[float, tuple[float, float, int]]]:
    """Return (mean accuracy, deviation over seeds, seeds) by (readout, features, pooling) and ratio, in order."""
    groups: dict[Row, dict[float, list[float]]] = {}
    for one in measurements:
        row = groups.setdefault((one.readout, one.features, one.pooling), {})
        row.setdefault(one.ratio, []).append(one.accuracy)
    order = sorted(groups, key=lambda row: list(READOUTS).index(row[0]))
    return {
        row: {
            ratio: (float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0, len(values))
            for ratio, values in groups[row].items()
        }
        for row in order
    }


def probe_table(measurements: Sequence[Measurement]) -> str:
    """Return the table: test accuracy in percent, mean ± deviation over seeds, at most 80 columns for 4 ratios."""
    summary = summarize(measurements)
    ratios = list(dict.fromkeys(one.ratio for one in measurements))
    name_width = max(8, *(min(WIDEST_NAME, len(features)) for _, features, _ in summary))
    lines: list[str | None] = []
    readout = ""
    for (kind, features, pooling), cells in summary.items():
        if kind != readout:
            readout = kind
            heads = "".join(f"{f'ρ={ratio:g}':>11}" for ratio in ratios)
            lines += ["" if lines else None, f"{TITLES[kind]:<{name_width + 6}}{heads}"]
        shown = features if len(features) <= WIDEST_NAME else "…" + features[1 - WIDEST_NAME :]
        row = f"{shown:<{name_width}} {pooling:<5}"
        for ratio in ratios:
            mean, deviation, count = cells[ratio]
            row += f"{f'{100 * mean:.1f} ± {100 * deviation:.1f}' if count > 1 else f'{100 * mean:.1f}':>11}"
        lines.append(row)
    return "\n".join(line for line in lines if line is not None)


def write_measurements(path: Path, measurements: Sequence[Measurement]) -> None:
    """Write one CSV line a measurement."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(Measurement)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(one) for one in measurements)


def draw_probe(path: Path, measurements: Sequence[Measurement]) -> None:
    """Write a PNG: accuracy by masking ratio, a panel a readout, a line a kind of features and pooling."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    summary = summarize(measurements)
    readouts = list(dict.fromkeys(row[0] for row in summary))
    kinds = list(dict.fromkeys(row[1] for row in summary))
    poolings = list(dict.fromkeys(row[2] for row in summary))
    figure = Figure(figsize=(4.2 * len(readouts) + 1.6, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(readouts), sharey=True, squeeze=False)[0]
    for panel, readout in zip(panels, readouts, strict=True):
        for (kind, features, pooling), cells in summary.items():
            if kind != readout:
                continue
            ratios = sorted(cells)
            panel.errorbar(
                ratios,
                [100 * cells[ratio][0] for ratio in ratios],
                [100 * cells[ratio][1] for ratio in ratios],
                color=f"C{kinds.index(features)}",
                linestyle=("-", "--", ":", "-.")[poolings.index(pooling) % 4],
                marker="o",
                markersize=3,
                label=features if pooling == "-" else f"{features}, {pooling}",
            )
        panel.set_title(TITLES[readout])
        panel.set_xlabel("masking ratio ρ")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("test accuracy, %")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)
