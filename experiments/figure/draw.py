"""Draw points: lines over numbers, dots beside names, and accuracy against bytes with its front."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from experiments.figure.points import Point
from experiments.report.pareto import front
from fl_sparse.atomic_file import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Kind = Literal["lines", "dots", "pareto"]

# Okabe and Ito's colours, told apart under every kind of colour blindness (jfly.uni-koeln.de/color); yellow, pale on
# white, comes last.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#B5A900")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
DASHES = ("-", "--", ":", "-.")
STYLE: Any = {
    "font.size": 11,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "axes.titlesize": 11,
    # Text stays text, and equal figures are equal files.
    "svg.fonttype": "none",
    "svg.hashsalt": "fl-sparse",
}


def draw(drawn: Sequence[Point], path: Path, *, kind: Kind, x: str, y: str, log: bool = False) -> None:
    """Draw a figure.

    Parameters
    ----------
    drawn
        Points in the order of the legend; panels stand side by side.
    path
        Where to; its suffix decides on the format.
    kind
        ``lines`` (x are numbers), ``dots`` (x are names, from top to bottom) or ``pareto`` (x are megabytes).
    x, y
        Names of the axes.
    log
        Whether x is logarithmic (``pareto`` always is).
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys(point.panel for point in drawn))
    series = list(dict.fromkeys(point.series for point in drawn))
    names = list(dict.fromkeys(str(point.x) for point in drawn))
    with mpl.rc_context(STYLE):
        height = 0.9 + (0.16 + 0.18 * len(series)) * len(names) if kind == "dots" else 3.8
        height = max(3.0, height, 0.4 + 0.24 * len(series))
        width = 5.2 if kind == "pareto" else 3.4
        figure = Figure(figsize=(1.6 + width * max(len(panels), 1), height), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, panel in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
            own = [point for point in drawn if point.panel == panel]
            axes.set_title(panel)
            if kind == "dots":
                _dots(axes, own, series, names)
                axes.set_xlabel(y)
            else:
                if log or kind == "pareto":
                    axes.set_xscale("log")
                _lines(axes, own, series) if kind == "lines" else _pareto(axes, own, series)
                axes.set_xlabel(x)
        if kind != "dots":
            figure.axes[0].set_ylabel(y)
        _legend(figure, series)
        with whole_file(path) as partial:
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(partial, format=path.suffix[1:], dpi=150, metadata=metadata)


def _look(series: Sequence[str], name: str) -> dict[str, Any]:
    number = series.index(name)
    return {"color": COLORS[number % len(COLORS)], "marker": MARKERS[(number + number // len(COLORS)) % len(MARKERS)]}


def _lines(axes: Axes, drawn: Sequence[Point], series: Sequence[str]) -> None:
    for number, name in enumerate(series):
        own = sorted((point for point in drawn if point.series == name), key=lambda point: float(point.x))
        if own:
            dash = DASHES[number // len(COLORS) % len(DASHES)]
            xs = [float(point.x) for point in own]
            _errors(axes, xs, own, linestyle=dash, linewidth=1.6, label=name, **_look(series, name))


def _dots(axes: Axes, drawn: Sequence[Point], series: Sequence[str], names: Sequence[str]) -> None:
    for number, name in enumerate(series):
        own = [point for point in drawn if point.series == name]
        places = [names.index(str(point.x)) + 0.16 * (number - (len(series) - 1) / 2) for point in own]
        halves = [point.half or 0.0 for point in own]
        look = _look(series, name) | {"linestyle": "", "capsize": 2.5, "markersize": 5.5, "label": name}
        axes.errorbar([point.y for point in own], places, xerr=halves, **look)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _pareto(axes: Axes, drawn: Sequence[Point], series: Sequence[str]) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    kept = front([(float(point.x), point.y) for point in drawn])
    steps = sorted({(float(point.x), point.y) for point, best in zip(drawn, kept, strict=True) if best})
    axes.plot(
        *zip(*steps, strict=True), drawstyle="steps-post", color="#777777", linestyle=":", linewidth=1.4, zorder=1
    )
    for point, best in zip(drawn, kept, strict=True):
        look = _look(series, point.series)
        face = look["color"] if best else "white"
        _errors(axes, [float(point.x)], [point], linestyle="", markerfacecolor=face, label=point.series, **look)


def _errors(axes: Axes, xs: Sequence[float], own: Sequence[Point], **look: Any) -> None:
    halves = [point.half or 0.0 for point in own]
    axes.errorbar(xs, [point.y for point in own], yerr=halves, capsize=2.5, elinewidth=1, markersize=5.5, **look)


def _legend(figure: Figure, series: Sequence[str]) -> None:
    if series == [""]:
        return
    known: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            known.setdefault(label, handle)
    figure.legend([known[name] for name in series], list(series), loc="outside right upper", fontsize=10)
