"""A federation over features made up here: no image, no encoder."""

import numpy as np

from fl_sparse.config import RunConfig
from fl_sparse.data.partition import partition
from fl_sparse.federation import FeatureTable, HeldOut, SplitLabels, TrainingTable

CLASSES = ("a", "b", "c")


def table(num_images: int, seed: int = 0, *, width: int = 6, views: int = 1) -> FeatureTable:
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(CLASSES), size=num_images)
    centres = np.eye(len(CLASSES), width)[labels]
    features = rng.normal(size=(views, num_images, width)) + 2 * centres + 1
    return FeatureTable(features.astype(np.float32), labels, CLASSES)


def training(config: RunConfig, num_clients: int, num_images: int = 60, **options) -> TrainingTable:
    made = table(num_images, **options)
    parts = partition(
        config.partition,
        made.labels,
        num_clients=num_clients,
        data_seed=config.data_seed,
        alpha=config.alpha,
        images_per_client=config.images_per_client,
    )
    return TrainingTable(made, parts)


def held_out(training: TrainingTable) -> HeldOut:
    split = SplitLabels(training.table.labels, training.parts)
    return HeldOut(table(30, 1), table(40, 2), split)
