"""From visible patches to features: large batches of images with equally many visible patches.

Symbols: V views, n images, K patches kept of an image, P values of a patch, T tokens before the patches', D width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fl_sparse.errors import InputError, nearest
from fl_sparse.features.pooled import Features

if TYPE_CHECKING:
    from fl_sparse.shard.image_shard import ImageShard

PRECISIONS = ("float32", "bfloat16")


class VisibleEncoder(Protocol):
    """What encodes visible patches: `fl_sparse.encoder.Encoder`, or a stand-in."""

    @property
    def spec(self) -> Any:
        """A description with ``width``, D, and ``name``."""

    @property
    def device(self) -> Any:
        """The torch device that it works on."""

    def tokens(self, patches: NDArray[np.uint8], kept: NDArray[np.int64]) -> Any:
        """Return a float32 tensor (B, T+K, D) of patches uint8 (B, K, P) at places int64 (B, K)."""


def compute_features(
    encoder: VisibleEncoder,
    shard: ImageShard,
    *,
    precision: str = "float32",
    batch_tokens: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Encode every view of every image of a shard.

    Parameters
    ----------
    encoder
        Puts its class token first; without one, the mean stands in for it.
    shard
        Visible patches; images may have different numbers of them.
    precision
        ``float32``, or ``bfloat16`` for matrix products in that type.
    batch_tokens
        Tokens encoded at a time; by default 4,096 on a CPU, whose caches hold about that many, and 65,536 elsewhere.
        Images of equal K go together, so that none is padded; those of smallest K first.
    progress
        Told (views of images done, in all) after each batch.

    Returns
    -------
    Features
        Class token and mean of the kept patches' tokens, float32 (V, n, D).

    Raises
    ------
    InputError
        For an unknown precision, or an image whose features are not finite, named by its row in the shard.
    """
    import torch

    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}{nearest(precision, PRECISIONS)}")
    lengths, width = shard.lengths.reshape(-1), int(encoder.spec.width)
    cls, mean = (np.empty((len(lengths), width), dtype=np.float32) for _ in range(2))
    device, done = torch.device(encoder.device).type, 0
    batch_tokens = batch_tokens or (4096 if device == "cpu" else 65536)
    for count in np.unique(lengths).tolist():
        alike = np.flatnonzero(lengths == count)
        images = max(1, batch_tokens // (count + 1))
        for start in range(0, len(alike), images):
            chosen = alike[start : start + images]
            places = shard.offsets[chosen][:, None] + np.arange(count)
            with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
                tokens = encoder.tokens(shard.patches[places], shard.kept[places].astype(np.int64)).float()
                patches = tokens[:, tokens.shape[1] - count :].mean(dim=1)
                first = tokens[:, 0] if tokens.shape[1] > count else patches
            cls[chosen], mean[chosen] = first.cpu().numpy(), patches.cpu().numpy()
            _check_finite(encoder, shard, chosen, cls, mean)
            done += len(chosen)
            if progress is not None:
                progress(done, len(lengths))
    shape = (shard.num_views, shard.num_images, width)
    return Features.of(cls.reshape(shape), mean.reshape(shape))


def _check_finite(
    encoder: VisibleEncoder,
    shard: ImageShard,
    chosen: NDArray[np.int64],
    cls: NDArray[np.float32],
    mean: NDArray[np.float32],
) -> None:
    finite = np.isfinite(cls[chosen]).all(axis=1) & np.isfinite(mean[chosen]).all(axis=1)
    if not finite.all():
        image = int(chosen[~finite][0]) % shard.num_images
        raise InputError(
            f"encoder {encoder.spec.name} gives features that are not finite for image {image} of the shard"
        )
