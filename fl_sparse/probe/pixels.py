"""Raw pixels as features: the baseline that an encoder has to beat."""

import numpy as np
from numpy.typing import NDArray

from fl_sparse.shard.image_shard import ImageShard

HIDDEN = 0.0
"""Value of a hidden pixel: the middle of the scale −1..1."""


def pixel_features(shard: ImageShard) -> NDArray[np.float32]:
    """Return the visible pixels of a shard's first view at their places, float32 (n, N·P) on the scale −1..1."""
    header = shard.header
    features = np.full((shard.num_images, header.num_patches, header.patch_values), HIDDEN, dtype=np.float32)
    for image in range(shard.num_images):
        start, end = shard.offsets[image : image + 2]
        features[image, shard.kept[start:end]] = shard.patches[start:end] / np.float32(127.5) - 1
    return features.reshape(shard.num_images, -1)
