"""The probe's grid: kinds of features × masking ratios × seeds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_sparse.data.images import ImageSet
from fl_sparse.data.stratified import validation_split
from fl_sparse.encoder.frozen import Encoder
from fl_sparse.encoder.spec import EncoderSpec
from fl_sparse.errors import InputError
from fl_sparse.features.compute import compute_features
from fl_sparse.features.pooled import POOLINGS, pool
from fl_sparse.masks.spec import MaskSpec
from fl_sparse.probe.measurement import READOUTS, Labelled, Measurement, measure
from fl_sparse.probe.pixels import pixel_features
from fl_sparse.rng import Purpose, generator
from fl_sparse.shard.build import build_shard
from fl_sparse.shard.image_shard import ImageShard

VALIDATION_SHARE = 0.1
PIXELS = "pixels"
UNTRAINED = "untrained"
Tables = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Features of training and test images, (n, F) each."""


@dataclass(frozen=True)
class Grid:
    """What is probed."""

    ratios: tuple[float, ...] = (0.0, 0.5, 0.75, 0.9)
    """ρ, of training and test images alike; masks are random, fixed, one an image."""
    seeds: int = 3
    """Repetitions for the encoder, one for what it is compared with. A seed draws masks, the images used under
    ``limit``, and those that penalties are chosen on."""
    limit: int = 0
    """Training images used; 0 for all."""
    readouts: tuple[str, ...] = tuple(READOUTS)
    poolings: tuple[str, ...] = POOLINGS
    precision: str = "float32"
    """Of the encoder's products."""

    def __post_init__(self) -> None:
        if not self.ratios or len(set(self.ratios)) != len(self.ratios):
            raise InputError(f"ratios {self.ratios}: expected one or more different masking ratios")
        for ratio in self.ratios:
            MaskSpec("random", ratio)
        if self.seeds < 1:
            raise InputError(f"seeds {self.seeds}: expected at least 1")
        if self.limit < 0:
            raise InputError(f"limit {self.limit}: expected 0 or more training images")


def training_rows(labels: NDArray[np.int64], limit: int, seed: int) -> NDArray[np.int64]:
    """Return the images of a repetition, sorted int64: all, or as many as the limit, drawn."""
    if not limit or limit >= len(labels):
        return np.arange(len(labels))
    return np.sort(generator(Purpose.PROBE, seed).permutation(len(labels))[:limit])


def check_limit(train: ImageSet, grid: Grid) -> None:
    """Refuse so few training images that penalties cannot be chosen on some of them.

    Raises
    ------
    InputError
        That of the split.
    """
    for seed in range(grid.seeds):
        labels = train.labels[training_rows(train.labels, grid.limit, seed)]
        validation_split(labels, data_seed=seed, share=VALIDATION_SHARE)


def probe_grid(
    train: ImageSet,
    test: ImageSet,
    encoder: Encoder,
    grid: Grid,
    *,
    untrained: Encoder | None = None,
    pixels: bool = True,
    device: str = "cpu",
    progress: Callable[[str], None] = lambda line: None,
) -> Iterator[Measurement]:
    """Yield every measurement.

    Parameters
    ----------
    train, test
        Labelled images.
    encoder
        What is probed.
    grid
        Ratios, seeds and readouts.
    untrained
        The same architecture before training, measured beside it at seed 0.
    pixels
        Whether raw pixels are measured too, at seed 0.
    device
        Of the readouts; encoders bring their own.
    progress
        Told what is being done.
    """
    name = Path(encoder.spec.name).name
    for ratio in grid.ratios:
        for draw in _draws(grid, ratio):
            rows = training_rows(train.labels, grid.limit, draw[0])
            progress(f"masking ratio {ratio:g}, seed {draw[0]}: {len(rows):,} training images")
            shards = (
                _shard(train, rows, encoder.spec, ratio, draw[0], "train"),
                _shard(test, np.arange(len(test)), encoder.spec, ratio, draw[0], "test"),
            )
            for pooling, tables in _encoded(encoder, shards, grid):
                for seed in draw:
                    yield from _measured(name, pooling, tables, shards, ratio, seed, grid, device)
            if draw[0] == 0 and untrained is not None:
                for pooling, tables in _encoded(untrained, shards, grid):
                    yield from _measured(UNTRAINED, pooling, tables, shards, ratio, 0, grid, device)
            if draw[0] == 0 and pixels:
                tables = pixel_features(shards[0]), pixel_features(shards[1])
                yield from _measured(PIXELS, "-", tables, shards, ratio, 0, grid, device)


def _draws(grid: Grid, ratio: float) -> list[range]:
    """Return the seeds that share masks and images: with every image whole, all of them."""
    seeds = range(grid.seeds)
    return [seeds] if ratio == 0 and not grid.limit else [range(seed, seed + 1) for seed in seeds]


def _measured(
    name: str,
    pooling: str,
    tables: Tables,
    shards: tuple[ImageShard, ImageShard],
    ratio: float,
    seed: int,
    grid: Grid,
    device: str,
) -> Iterator[Measurement]:
    train, test = (Labelled(table, shard.labels) for table, shard in zip(tables, shards, strict=True))
    _, validation = validation_split(train.labels, data_seed=seed, share=VALIDATION_SHARE)
    num_classes = len(shards[0].header.classes)
    found = measure(train, test, validation, num_classes=num_classes, readouts=grid.readouts, device=device)
    for readout, (accuracy, penalty) in found.items():
        yield Measurement(name, pooling, readout, ratio, seed, accuracy, penalty)


def _shard(
    images: ImageSet, rows: NDArray[np.int64], spec: EncoderSpec, ratio: float, seed: int, split: str
) -> ImageShard:
    return build_shard(
        images,
        rows,
        mask=MaskSpec("random", ratio),
        image_size=spec.image_size,
        patch_size=spec.patch_size,
        data_seed=seed,
        split="train" if split == "train" else "test",
    )


def _encoded(encoder: Encoder, shards: tuple[ImageShard, ImageShard], grid: Grid) -> Iterator[tuple[str, Tables]]:
    train, test = (compute_features(encoder, shard, precision=grid.precision) for shard in shards)
    for pooling in grid.poolings:
        yield pooling, (pool(train, pooling)[0], pool(test, pooling)[0])
