"""Image → mask → patches → features, for every client of a simulated federation and for the server's held-out images.

The training images that clients hold are one shard and one table of features, whose rows the clients share out: a
picture that several clients hold (partition ``full``) is encoded once. Only masks that belong to a client (rule
``shared`` by ``client``) give each client rows of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fl_sparse.config import RunConfig
from fl_sparse.data.client_rows import ClientRows
from fl_sparse.data.folds import held_out_fold
from fl_sparse.data.images import ImageSet
from fl_sparse.data.partition import partition
from fl_sparse.data.sources import load_images
from fl_sparse.data.stratified import training_subset, validation_split
from fl_sparse.encoder import EncoderSpec, encoder_spec
from fl_sparse.errors import InputError
from fl_sparse.features import Features, feature_key, pool, stored_features
from fl_sparse.federation.store import shard_key, store_folder, stored_shard
from fl_sparse.masks.draw import cycled_owners
from fl_sparse.masks.spec import MaskSpec, kept_count
from fl_sparse.memory import available_memory, check_memory
from fl_sparse.shard.build import build_shard
from fl_sparse.shard.image_shard import ImageShard

Rows = NDArray[np.int64]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class FeatureTable:
    """Features float32 (V, n, F) with labels int64 (n,); F = D, or 2 D with both poolings.

    ``shard`` holds the images they were computed from, memory-mapped; None if they are from elsewhere.
    """

    features: NDArray[np.float32] = field(repr=False)
    labels: Rows = field(repr=False)
    classes: tuple[str, ...]
    shard: ImageShard | None = field(default=None, repr=False)


@dataclass(frozen=True)
class TrainingTable:
    """The table that clients share, and the rows of each client."""

    table: FeatureTable
    parts: ClientRows = field(repr=False)


@dataclass(frozen=True)
class SplitLabels:
    """Labels of all training images of the source, and each simulated client's rows among them."""

    labels: Rows = field(repr=False)
    parts: ClientRows = field(repr=False)


@dataclass(frozen=True)
class HeldOut:
    """The server's validation images, on which everything is decided, its test images, and the split over clients."""

    validation: FeatureTable
    test: FeatureTable
    split: SplitLabels


@dataclass(frozen=True)
class Holdings:
    """Who holds which training images (positions in the source), before any pixel is read."""

    train: ImageSet
    test: ImageSet
    parts: ClientRows
    validation: Rows


def holdings(config: RunConfig, num_clients: int) -> Holdings:
    """Split the source's training images into the server's validation images and the clients' parts."""
    train, test = load_images(
        config.dataset,
        config.data_dir,
        data_seed=config.data_seed,
        image_column=config.image_column,
        label_column=config.label_column,
        id_column=config.id_column,
    )
    if config.folds:
        train, test = held_out_fold(train, test, folds=config.folds, fold=config.fold, data_seed=config.data_seed)
    used = training_subset(train.labels, config.train_images, data_seed=config.data_seed)
    kept, validation = (used[rows] for rows in validation_split(train.labels[used], data_seed=config.data_seed))
    local = partition(
        config.partition,
        train.labels[kept],
        num_clients=num_clients,
        data_seed=config.data_seed,
        alpha=config.alpha,
        classes_per_client=config.classes_per_client,
        images_per_client=config.images_per_client,
        ids=None if train.ids is None else train.ids[kept],
    )
    return Holdings(train, test, local.taken_from(kept), validation)


def training_table(
    config: RunConfig, num_clients: int, progress: Progress | None = None, held: Holdings | None = None
) -> TrainingTable:
    """Return the clients' features, computed once and stored; the last ones are remembered by the process.

    ``held`` is what `holdings` returns for this configuration and as many clients, where it has been read already.

    Raises
    ------
    InputError
        For a source, split, mask or encoder that cannot be had, or a client left without any visible image.
    """
    key = (config, num_clients, str(store_folder()))
    if key not in _REMEMBERED:
        remember_training_table(config, _training_table(config, held or holdings(config, num_clients), progress))
    return _REMEMBERED[key]


def remember_training_table(config: RunConfig, training: TrainingTable) -> None:
    """Have `training_table` return this table from now on, for this configuration and as many clients."""
    _REMEMBERED.clear()
    _REMEMBERED[(config, len(training.parts), str(store_folder()))] = training


_REMEMBERED: dict[tuple[RunConfig, int, str], TrainingTable] = {}
"""One entry: in-process, every node and the cohort share it; a Ray worker serves many messages with it."""


def _training_table(config: RunConfig, held: Holdings, progress: Progress | None) -> TrainingTable:
    spec = encoder_spec(config.encoder)
    mask = mask_spec(config, config.mask_ratio)
    if mask.rule == "shared" and mask.shared_by == "client":
        rows = held.parts.rows
        owners = np.repeat(np.arange(len(held.parts)), held.parts.sizes)
        positions = replace(held.parts, rows=np.arange(len(rows)))
    else:
        wanted = np.zeros(len(held.train), dtype=np.bool_)
        wanted[held.parts.rows] = True
        rows, owners = np.flatnonzero(wanted), None
        positions = held.parts.taken_from(np.cumsum(wanted) - 1)
    shard = _shard(config, held.train, rows, owners, mask, spec, "train")
    if progress is not None and mask.rule == "natural" and _hides_as_if_all_were_valid(shard):
        progress(f"warning: mask 'natural': no image of {held.train.name} seems to have invalid pixels")
    table = table_of_shard(config, shard, spec, progress)
    return TrainingTable(table, _present(shard, rows, positions))


def _hides_as_if_all_were_valid(shard: ImageShard) -> bool:
    """Tell whether every image keeps as many patches as one without invalid pixels does."""
    header = shard.header
    return not header.left_out and bool((shard.lengths == kept_count(header.num_patches, header.mask.ratio)).all())


def held_out_tables(
    config: RunConfig, num_clients: int, progress: Progress | None = None, held: Holdings | None = None
) -> HeldOut:
    """Return the server's validation and test features, masked by the same rule at ``test-mask-ratio``.

    ``held`` is as in `training_table`.
    """
    held = held or holdings(config, num_clients)
    spec = encoder_spec(config.encoder)
    mask = replace(mask_spec(config, config.held_out_ratio), schedule="fixed", views=1)

    def table(images: ImageSet, rows: Rows, split: Literal["train", "test"]) -> FeatureTable:
        # Under masks shared by a client, held-out images cycle through the clients' masks.
        by_client = mask.rule == "shared" and mask.shared_by == "client"
        owners = cycled_owners(rows, num_clients) if by_client else None
        return table_of_shard(config, _shard(config, images, rows, owners, mask, spec, split), spec, progress)

    return HeldOut(
        validation=table(held.train, held.validation, "train"),
        test=table(held.test, np.arange(len(held.test)), "test"),
        split=SplitLabels(held.train.labels, held.parts),
    )


def mask_spec(config: RunConfig, ratio: float) -> MaskSpec:
    """Return the mask rule of a run at a masking ratio."""
    return MaskSpec(config.mask, ratio, config.mask_schedule, config.views, config.mask_shared_by)


def table_of_shard(
    config: RunConfig, shard: ImageShard, spec: EncoderSpec, progress: Progress | None = None
) -> FeatureTable:
    """Return a shard's features, from the store or computed and stored."""

    def compute() -> Features:
        from fl_sparse.encoder import load_encoder
        from fl_sparse.features import compute_features

        check_memory(
            _table_bytes(shard.num_views, shard.num_images, spec),
            f"features of {shard.num_images:,} images in {shard.num_views} views",
            "Expected fewer images (train-images) or mask-views",
            available_memory(),
        )
        if progress is not None:
            progress(f"encoding {shard.num_images:,} images ({shard.header.split}) with {Path(spec.name).name}")
        encoder = load_encoder(config.encoder, normalization=config.encoder_normalization)
        return compute_features(encoder, shard, precision=config.precision)

    key = feature_key(shard.header.digest, f"{spec.digest}-{config.encoder_normalization}", config.precision)
    folder = store_folder() / "features"
    try:
        features = stored_features(folder, key, compute)
    except OSError as error:
        raise InputError(f"store {folder}: {error}; FL_SPARSE_STORE may name another folder") from None
    return FeatureTable(pool(features, config.pooling), np.asarray(shard.labels), tuple(shard.header.classes), shard)


def _table_bytes(views: int, images: int, spec: EncoderSpec) -> int:
    """Bytes of a table while it is made: class tokens and means, and both side by side."""
    return 2 * 4 * views * images * 2 * spec.width


def _shard(
    config: RunConfig,
    images: ImageSet,
    rows: Rows,
    owners: Rows | None,
    mask: MaskSpec,
    spec: EncoderSpec,
    split: Literal["train", "test"],
) -> ImageShard:
    facts: dict[str, Any] = {
        "source": images.fingerprint,
        "rows": _digest(rows),
        "owners": None if owners is None else _digest(owners),
        "mask": [mask.rule, mask.ratio, mask.schedule, mask.views, mask.shared_by],
        "image-size": spec.image_size,
        "patch-size": spec.patch_size,
        "data-seed": config.data_seed,
        "split": split,
    }

    def build() -> ImageShard:
        if mask.rule != "natural":  # which leaves of each image what it leaves
            kept = kept_count((spec.image_size // spec.patch_size) ** 2, mask.ratio)
            check_memory(
                mask.views * len(rows) * kept * 3 * spec.patch_size**2,
                f"visible patches of {len(rows):,} images in {mask.views} views",
                "Expected fewer images (train-images) or mask-views, or a higher mask-ratio",
                available_memory(),
            )
        return build_shard(
            images,
            rows,
            mask=mask,
            image_size=spec.image_size,
            patch_size=spec.patch_size,
            data_seed=config.data_seed,
            split=split,
            owners=owners,
        )

    return stored_shard(store_folder(), shard_key(**facts), build)


def _present(shard: ImageShard, rows: Rows, positions: ClientRows) -> ClientRows:
    """Translate positions in the wanted rows into rows of the shard, which lacks images without a visible patch."""
    if shard.num_images == len(rows):
        return positions
    kept = np.isin(rows, np.asarray(shard.rows))
    present = positions.where(kept).taken_from(np.cumsum(kept) - 1)
    for client in np.flatnonzero(present.sizes == 0):
        raise InputError(f"client {client} holds no image with a visible patch")
    return present


def _digest(values: Rows) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, dtype="<i8").tobytes()).hexdigest()
