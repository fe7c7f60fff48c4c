"""The picture of a client split: how many images of each class each client holds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_sparse.data.client_rows import ClientRows

Rows = NDArray[np.int64]

MOST_CLASSES = 20
"""Classes that still get wide cells with their counts in them; with more, colour alone tells."""
MOST_CLIENTS = 30
"""Clients that still have a tick each, and counts."""
MOST_BARS = 1000
"""Clients that still have a bar each; more are one line, which takes as long to draw as a single bar."""


def partition_counts(labels: Rows, parts: ClientRows, num_classes: int) -> NDArray[np.int64]:
    """Return int64 (M, C): images of each class that each client holds."""
    client = np.repeat(np.arange(len(parts)), parts.sizes)
    cells = np.bincount(client * num_classes + labels[parts.rows], minlength=len(parts) * num_classes)
    return cells.reshape(len(parts), num_classes)


def draw_partition(labels: Rows, parts: ClientRows, classes: Sequence[str], path: Path) -> None:
    """Write a PNG: a row per client, a column per class, and beside it each client's number of images.

    Parameters
    ----------
    labels
        int64 (n,).
    parts
        Each client's rows.
    classes
        C names.
    path
        File to write.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    counts = partition_counts(labels, parts, len(classes))
    num_clients, num_classes = counts.shape
    few = num_classes <= MOST_CLASSES
    # Inches: cells big enough for their numbers, and a page that stays a page.
    width = max(4.0, (0.5 if few else 0.24) * num_classes)
    height = min(max(1.2, 0.34 * num_clients), 10.0)
    figure = Figure(figsize=(width + 4.0, height + 2.0), layout="constrained")
    heat, totals = figure.subplots(1, 2, sharey=True, width_ratios=[width, 1.6])

    image = heat.imshow(counts, aspect="auto", cmap="Blues", vmin=0, interpolation="nearest")
    slant = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if few else {"rotation": 90}
    heat.set_xticks(range(num_classes), classes, fontsize=9, **slant)
    heat.yaxis.set_major_locator(MaxNLocator(MOST_CLIENTS if num_clients <= MOST_CLIENTS else 10, integer=True))
    heat.set_ylabel("client")
    if few and num_clients <= MOST_CLIENTS:
        for client, label in np.argwhere(counts):
            count = counts[client, label]
            colour = "white" if count > 0.6 * counts.max() else "0.25"
            heat.text(label, client, f"{count}", ha="center", va="center", fontsize=7, color=colour)

    if num_clients <= MOST_BARS:
        totals.barh(range(num_clients), parts.sizes, height=0.8, color="#6b9ac4")
    else:
        totals.plot(parts.sizes, np.arange(num_clients), color="#6b9ac4", linewidth=0.5)
        totals.set_xlim(left=0)
    totals.set_xlabel("images")
    totals.spines[["top", "right"]].set_visible(False)
    totals.tick_params(left=False, labelleft=False)
    totals.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    figure.colorbar(image, ax=totals, label="images of a class")
    figure.suptitle(f"{num_clients} clients, {num_classes} classes, {len(np.unique(parts.rows)):,} images")
    figure.savefig(path, dpi=120)
