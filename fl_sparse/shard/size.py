"""What clients' images weigh as shards store them.

Shapes: V views · n_k images of client k · K patches kept in a view of an image · M clients.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fl_sparse.data.client_rows import ClientRows
from fl_sparse.shard.image_shard import ImageShard


def training_bytes(shard: ImageShard, parts: ClientRows) -> NDArray[np.int64]:
    """Return the bytes that a shard of each client's own images would take, as far as training needs it, int64 (M,).

    These are the tensors of `fl_sparse.shard.image_shard.stored_tensors` with the same types: visible patches, their
    places, labels, and V·n_k + 1 offsets where the images' K differ. Left out are the images' places in the data set,
    which training does not read, and the header (about 1 kB).

    Parameters
    ----------
    shard
        Holds all clients' images.
    parts
        Each client's images of the shard; one that is named twice counts twice, and in each part anew.
    """
    sizes = parts.sizes
    weight = np.zeros(len(sizes), dtype=np.int64)
    some = sizes > 0
    starts = parts.offsets[:-1][some]
    patch = shard.header.patch_values * shard.patches.itemsize + shard.kept.itemsize
    if len(starts):
        lengths = shard.lengths
        sums, least, most = (lengths.sum(axis=0), lengths.min(axis=0), lengths.max(axis=0))
        weight[some] = np.add.reduceat(sums[parts.rows], starts) * patch
        ragged = np.minimum.reduceat(least[parts.rows], starts) < np.maximum.reduceat(most[parts.rows], starts)
        weight[some] += ragged * (shard.num_views * sizes[some] + 1) * shard.offsets.itemsize
    return weight + sizes * shard.labels.itemsize
