"""Mask rules: pure functions that keep exactly K of the N patches of an image.

Every rule is ``(rng, (rows, columns), keep) -> bool (N,)``, patches row by row, True where a patch is kept. Rules that
rank patches (random, grid, cloud) are nested: from the same generator, a smaller K keeps a subset.
"""

import functools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Grid = tuple[int, int]
Rule = Callable[[np.random.Generator, Grid, int], NDArray[np.bool_]]


def random(rng: np.random.Generator, grid: Grid, keep: int) -> NDArray[np.bool_]:
    """Keep a uniformly random subset."""
    return _keep_lowest(rng.random(grid[0] * grid[1]), keep)


def block(rng: np.random.Generator, grid: Grid, keep: int) -> NDArray[np.bool_]:
    """Hide a compact block, in the proportions of the grid, at a random place.

    The block is the smallest such rectangle that holds the N−K hidden patches; where they do not fill it, its first or
    last row is cut short at one end.
    """
    rows, columns = grid
    hidden = rows * columns - keep
    if hidden == 0:
        return np.ones(rows * columns, dtype=np.bool_)
    width = min(columns, math.ceil(math.sqrt(hidden * columns / rows)))
    height = math.ceil(hidden / width)
    shape = np.ones(height * width, dtype=np.bool_)
    shape[hidden:] = False
    shape = shape.reshape(height, width)[:: rng.choice((1, -1)), :: rng.choice((1, -1))]
    top, left = rng.integers(rows - height + 1), rng.integers(columns - width + 1)
    kept = np.ones(grid, dtype=np.bool_)
    kept[top : top + height, left : left + width] = ~shape
    return kept.reshape(-1)


def grid(rng: np.random.Generator, grid: Grid, keep: int) -> NDArray[np.bool_]:
    """Keep a regular lattice at a random phase.

    Patches are ranked by the ordered-dither matrix of Bayer (1973): half of them make a checkerboard, a quarter every
    second row and column, and for any K the numbers kept in two windows of 2^j × 2^j patches differ by one at most.
    """
    rows, columns = grid
    ranks = _bayer_ranks(max(1, (max(rows, columns) - 1).bit_length()))
    side = len(ranks)
    row_phase, column_phase = rng.integers(side), rng.integers(side)
    shifted = ranks[np.ix_((np.arange(rows) + row_phase) % side, (np.arange(columns) + column_phase) % side)]
    return _keep_lowest(shifted.reshape(-1), keep)


def cloud(rng: np.random.Generator, grid: Grid, keep: int) -> NDArray[np.bool_]:
    """Hide patches under the highest parts of a smooth Gaussian random field.

    White noise is smoothed by a Gaussian of an eighth of the longer side, at least one patch: a stand-in for clouds.
    """
    rows, columns = grid
    scale = max(1.0, max(grid) / 8)
    field = _smoothing(rows, scale) @ rng.standard_normal(grid) @ _smoothing(columns, scale).T
    return _keep_lowest(field.reshape(-1), keep)


# The rules that are drawn. `shared` draws `random` once for many images; `natural` comes from the image.
DRAWN: Mapping[str, Rule] = MappingProxyType(
    {"random": random, "shared": random, "block": block, "grid": grid, "cloud": cloud}
)


def _keep_lowest(scores: NDArray[Any], keep: int) -> NDArray[np.bool_]:
    kept = np.zeros(len(scores), dtype=np.bool_)
    kept[np.argsort(scores, kind="stable")[:keep]] = True
    return kept


@functools.cache
def _bayer_ranks(bits: int) -> NDArray[np.int64]:
    """Return the ordered-dither matrix, int64 (2^bits, 2^bits): a permutation of the ranks from 0."""
    ranks = np.zeros((1, 1), dtype=np.int64)
    for _ in range(bits):
        ranks = np.block([[4 * ranks, 4 * ranks + 2], [4 * ranks + 3, 4 * ranks + 1]])
    return ranks


@functools.cache
def _smoothing(size: int, scale: float) -> NDArray[np.float64]:
    """Return the matrix (size, size) of a Gaussian blur whose output has unit variance everywhere, borders included."""
    places = np.arange(size)
    weights = np.exp(-0.5 * ((places[:, None] - places[None, :]) / scale) ** 2)
    blur: NDArray[np.float64] = weights / np.sqrt((weights**2).sum(axis=1, keepdims=True))
    return blur
