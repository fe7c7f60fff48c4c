"""The visible patches of a client's images.

Shapes: n images · V views of each · K patches kept in a view (under a natural mask each image has its own K) ·
P = 3·p² values in a patch · T = ΣK patches in all. Row v·n + i holds view v of image i: its patches are
``patches[offsets[row]:offsets[row + 1]]``, their places among the N patches of the image ``kept`` at the same slice,
ascending.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.masks.draw import Split
from fl_sparse.masks.spec import MaskSpec
from fl_sparse.patches import CHANNELS, grid

Index = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class ShardHeader:
    """What a shard says about itself.

    Attributes
    ----------
    image_size, patch_size
        Pixels on a side of the resized image and of a patch.
    mask
        How the images were masked.
    data_seed
        The seed the masks were drawn from.
    split
        The part of the data set the images come from: ``train`` or ``test``.
    classes
        Names of the classes; a label is a place in this list, or -1.
    source
        Name of the data set.
    left_out
        Images left out because no patch of theirs is valid.
    exposed
        Share of the pixels of the resized images that the union of an image's views shows, 0 to 1.
    digest
        SHA-256 (hex) of the shard: of its tensors and of every other field of this header.
    """

    image_size: int
    patch_size: int
    mask: MaskSpec
    data_seed: int
    split: Split
    classes: tuple[str, ...]
    source: str
    left_out: int
    exposed: float
    digest: str = ""

    @property
    def grid(self) -> tuple[int, int]:
        """Patches of an image as (rows, columns)."""
        return grid(self.image_size, self.patch_size)

    @property
    def num_patches(self) -> int:
        """Number of patches of an image, N."""
        rows, columns = self.grid
        return rows * columns

    @property
    def patch_values(self) -> int:
        """Number of values in a patch, P."""
        return CHANNELS * self.patch_size**2

    def record(self) -> dict[str, Any]:
        """Return the header as plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class ImageShard:
    """Visible patches, their places, and labels.

    Attributes
    ----------
    patches
        uint8 (T, P).
    kept
        The smallest unsigned integer that holds N−1, (T,).
    offsets
        int64 (V·n + 1,), from 0 to T.
    labels
        int64 (n,); -1 where unknown.
    rows
        int64 (n,), the images' places in the data set.
    header
        What the shard says about itself.
    """

    patches: NDArray[np.uint8]
    kept: Index
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]
    header: ShardHeader

    @property
    def num_images(self) -> int:
        """Number of images, n."""
        return len(self.labels)

    @property
    def num_views(self) -> int:
        """V."""
        return self.header.mask.views

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """K of every view of every image, int64 (V, n)."""
        return np.diff(self.offsets).reshape(self.num_views, self.num_images)

    @property
    def is_rectangular(self) -> bool:
        """Whether every view of every image has the same K."""
        return self.lengths.size == 0 or bool((self.lengths == self.lengths.flat[0]).all())

    def visible(self, view: int) -> NDArray[np.int64]:
        """Return K of every image in a view, int64 (n,)."""
        lengths: NDArray[np.int64] = self.lengths[view]
        return lengths

    def view(self, view: int, image: int) -> tuple[NDArray[np.uint8], Index]:
        """Return the patches, uint8 (K, P), of a view of an image, and their places, (K,)."""
        row = view * self.num_images + image
        here = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        return self.patches[here], self.kept[here]


def index_type(num_patches: int) -> np.dtype[np.unsignedinteger[Any]]:
    """Return the smallest unsigned integer type that holds the places of N patches."""
    return np.min_scalar_type(num_patches - 1)


def stored_tensors(shard: ImageShard) -> dict[str, NDArray[Any]]:
    """Return the tensors of a shard as they are stored.

    A rectangular shard has ``patches`` (V, n, K, P) and ``kept`` (V, n, K); a ragged one ``patches`` (T, P), ``kept``
    (T,) and ``offsets`` (V·n + 1,). Both have ``labels`` and ``rows`` (n,).
    """
    tensors: dict[str, NDArray[Any]] = {"labels": shard.labels, "rows": shard.rows}
    if shard.is_rectangular:
        lead = (shard.num_views, shard.num_images, int(shard.lengths.flat[0]))
        return tensors | {"patches": shard.patches.reshape(*lead, -1), "kept": shard.kept.reshape(lead)}
    return tensors | {"patches": shard.patches, "kept": shard.kept, "offsets": shard.offsets}


def shard_digest(header: ShardHeader, tensors: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 (hex) of a shard.

    It covers the header too, without the digest: the same patches on another grid are other images.
    """
    digest = hashlib.sha256(json.dumps(replace(header, digest="").record(), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype.name} {tensor.shape}".encode())
        digest.update(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def sealed(shard: ImageShard) -> ImageShard:
    """Return the shard with its digest in its header."""
    return replace(shard, header=replace(shard.header, digest=shard_digest(shard.header, stored_tensors(shard))))
