"""From visible patches to features: large batches of images with equally many visible patches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fl_sparse.features.pooled import Features
from fl_sparse.shard.image_shard import ImageShard


def compute_features(
    encoder: Any,
    shard: ImageShard,
    *,
    precision: str = "float32",
    batch_tokens: int = 16384,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Encode every view of every image of a shard.

    Parameters
    ----------
    encoder
        Has ``spec.width`` D and ``tokens(patches (B, K, P), kept (B, K))`` → (B, T+K, D), the class token first.
    shard
        Visible patches; images may have different numbers of them.
    precision
        ``float32``, or ``bfloat16`` for matrix products in that type.
    batch_tokens
        Tokens encoded at a time; images of equal K are batched together, so that none is padded.
    progress
        Told (images done, images in all) after each batch.

    Returns
    -------
    Class token and mean of the kept tokens, float32 (V, n, D). A model without a class token has its mean twice.
    """
    import torch

    lengths = shard.lengths.reshape(-1)
    total, width = len(lengths), int(encoder.spec.width)
    cls = np.empty((total, width), dtype=np.float32)
    mean = np.empty((total, width), dtype=np.float32)
    device = str(getattr(encoder, "device", "cpu")).partition(":")[0]
    done = 0
    for kept_count in np.unique(lengths):
        rows = np.flatnonzero(lengths == kept_count)
        batch = max(1, batch_tokens // (int(kept_count) + 1))
        for start in range(0, len(rows), batch):
            chosen = rows[start : start + batch]
            places = shard.offsets[chosen][:, None] + np.arange(kept_count)
            patches, kept = shard.patches[places], shard.kept[places].astype(np.int64)
            with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
                tokens = encoder.tokens(patches, kept)
            visible = tokens[:, tokens.shape[1] - int(kept_count) :].float()
            mean[chosen] = visible.mean(dim=1).cpu().numpy()
            cls[chosen] = tokens[:, 0].float().cpu().numpy() if tokens.shape[1] > kept_count else mean[chosen]
            done += len(chosen)
            if progress is not None:
                progress(done, total)
    shape = (shard.num_views, shard.num_images, width)
    return Features(cls.reshape(shape), mean.reshape(shape))
