"""A device's own data: the shard file that its operator made, instead of a part of a simulated federation."""

from __future__ import annotations

from pathlib import Path

from fl_sparse.config import RunConfig
from fl_sparse.encoder import encoder_spec
from fl_sparse.errors import InputError
from fl_sparse.federation.tables import FeatureTable, table_of_shard
from fl_sparse.shard.file import load_shard


def device_table(config: RunConfig, path: Path) -> FeatureTable:
    """Return the features of a device's shard.

    Raises
    ------
    InputError
        If the shard is missing, damaged, without labels, or made for another image or patch size than the encoder's.
    """
    shard = load_shard(path)
    spec = encoder_spec(config.encoder)
    made, needed = (shard.header.image_size, shard.header.patch_size), (spec.image_size, spec.patch_size)
    if made != needed:
        raise InputError(
            f"shard {path} was made for {made[0]}-pixel images and {made[1]}-pixel patches; "
            f"encoder {spec.name} expects {needed[0]} and {needed[1]}"
        )
    if not shard.num_images or shard.labels.min() < 0:
        raise InputError(f"shard {path} holds no labelled image; training needs labels")
    return table_of_shard(config, shard, spec)
