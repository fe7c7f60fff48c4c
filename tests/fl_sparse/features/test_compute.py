"""Features of a stand-in encoder: every view of every image, whatever its number of visible patches."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.errors import InputError
from fl_sparse.features import Features, compute_features, pool

WIDTH, VALUES, PLACES = 4, 12, 9


class StandIn:
    """Token j of an image = (weighted sums of its patch) + its place; the class token sums them."""

    def __init__(self, prefix: int = 1) -> None:
        self.prefix, self.device, self.spec = prefix, "cpu", SimpleNamespace(width=WIDTH, name="stand-in")
        self.weights = torch.linspace(-1, 1, VALUES * WIDTH).reshape(VALUES, WIDTH)
        self.batches: list[tuple[int, int]] = []

    def tokens(self, patches: np.ndarray, kept: np.ndarray) -> torch.Tensor:
        assert patches.dtype == np.uint8
        assert kept.dtype == np.int64
        self.batches.append((len(patches), patches.shape[1]))
        own = torch.tensor(patches, dtype=torch.float32) @ self.weights + torch.tensor(kept)[..., None]
        return torch.cat([own.sum(dim=1, keepdim=True)] * self.prefix + [own], dim=1)


def make_shard(lengths: np.ndarray, seed: int = 0) -> SimpleNamespace:
    rng = np.random.default_rng(seed)
    total = int(lengths.sum())
    return SimpleNamespace(
        patches=rng.integers(0, 256, (total, VALUES), dtype=np.uint8),
        kept=np.concatenate([np.sort(rng.permutation(PLACES)[:k]) for k in lengths.reshape(-1)]).astype(np.uint8),
        offsets=np.concatenate([[0], np.cumsum(lengths.reshape(-1))]),
        lengths=lengths,
        num_views=lengths.shape[0],
        num_images=lengths.shape[1],
    )


@settings(deadline=None, max_examples=30)
@given(
    views=st.integers(1, 3),
    images=st.integers(1, 8),
    prefix=st.integers(0, 2),
    batch_tokens=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_equals_one_image_at_a_time(views: int, images: int, prefix: int, batch_tokens: int, seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(1, PLACES + 1, (views, images))
    shard, encoder = make_shard(lengths, seed), StandIn(prefix)
    features = compute_features(encoder, shard, batch_tokens=batch_tokens)  # type: ignore[arg-type]
    assert features.cls.shape == features.mean.shape == (views, images, WIDTH)
    assert features.cls.dtype == features.mean.dtype == np.float32
    # Every patch is encoded once, and no more tokens at a time than asked for, unless one image has more.
    assert sum(count * k for count, k in encoder.batches) == lengths.sum()
    assert all(count * (k + 1) <= batch_tokens or count == 1 for count, k in encoder.batches)
    for view, image in np.ndindex(views, images):
        row = view * images + image
        held = slice(shard.offsets[row], shard.offsets[row + 1])
        tokens = shard.patches[held].astype(np.float64) @ encoder.weights.numpy() + shard.kept[held][:, None]
        np.testing.assert_allclose(features.mean[view, image], tokens.mean(axis=0), rtol=1e-4, atol=1e-3)
        first = tokens.sum(axis=0) if prefix else tokens.mean(axis=0)
        np.testing.assert_allclose(features.cls[view, image], first, rtol=1e-4, atol=1e-2)


def test_equal_numbers_of_patches_go_together_in_ascending_order() -> None:
    encoder = StandIn()
    compute_features(encoder, make_shard(np.array([[3, 1, 3, 2, 1, 3]])))  # type: ignore[arg-type]
    assert encoder.batches == [(2, 1), (1, 2), (3, 3)]


def test_tells_its_progress() -> None:
    told: list[tuple[int, int]] = []
    shard = make_shard(np.full((2, 3), 4))
    compute_features(StandIn(), shard, batch_tokens=10, progress=lambda done, total: told.append((done, total)))  # type: ignore[arg-type]
    assert told == [(2, 6), (4, 6), (6, 6)]


def test_refuses_features_that_are_not_finite() -> None:
    encoder = StandIn()
    encoder.weights[0, 0] = float("nan")
    with pytest.raises(InputError, match="encoder stand-in gives features that are not finite for image 0"):
        compute_features(encoder, make_shard(np.array([[2, 2]])))  # type: ignore[arg-type]


def test_refuses_an_unknown_precision() -> None:
    with pytest.raises(InputError, match="unknown precision 'float23'; did you mean 'float32'"):
        compute_features(StandIn(), make_shard(np.array([[2]])), precision="float23")  # type: ignore[arg-type]


def test_bfloat16_is_used_for_products() -> None:
    shard = make_shard(np.full((1, 4), 3))
    exact, rounded = (
        compute_features(StandIn(), shard, precision=precision)  # type: ignore[arg-type]
        for precision in ("float32", "bfloat16")
    )
    assert not np.array_equal(exact.mean, rounded.mean)
    np.testing.assert_allclose(exact.mean, rounded.mean, rtol=0.05, atol=5)


def test_pools() -> None:
    cls, mean = np.zeros((2, 3, 4), dtype=np.float32), np.ones((2, 3, 4), dtype=np.float32)
    features = Features.of(cls, mean)
    np.testing.assert_array_equal(pool(features, "cls"), cls)
    np.testing.assert_array_equal(pool(features, "mean"), mean)
    np.testing.assert_array_equal(pool(features, "both"), np.concatenate([cls, mean], axis=2))
    # No pooling is a copy: what is memory-mapped stays so.
    assert all(np.shares_memory(pool(features, pooling), features.both) for pooling in ("cls", "mean", "both"))
    with pytest.raises(InputError, match="unknown pooling 'men'; did you mean 'mean'"):
        pool(features, "men")
