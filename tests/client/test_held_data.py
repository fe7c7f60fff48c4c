"""What a node holds: its own shard, checked before anything is computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.held_data import held_data
from fl_sparse.data.in_memory import ArrayImages
from fl_sparse.errors import InputError
from fl_sparse.masks.spec import MaskSpec
from fl_sparse.shard.build import build_shard
from fl_sparse.shard.file import save_shard


def shard(path: Path, *, label: int = 1, image_size: int = 8, patch_size: int = 2) -> Path:
    """Write a shard of 12 images of two classes, one of which has the given label."""
    rng = np.random.default_rng(0)
    labels = np.array([0, 1] * 6, dtype=np.int64)
    labels[-1] = label
    images = ArrayImages("made", ("cat", "dog"), labels, "0" * 64, rng.integers(0, 256, (12, 9, 9), dtype=np.uint8))
    mask, rows = MaskSpec("random", 0.5), np.arange(12)
    made = build_shard(
        images, rows, mask=mask, image_size=image_size, patch_size=patch_size, data_seed=0, split="train"
    )
    save_shard(path, made)
    return path


def test_a_device_trains_on_its_shard_and_keeps_a_tenth_back_to_evaluate(tiny_encoder: str, tmp_path: Path) -> None:
    node = {"partition-id": 7, "shard": str(shard(tmp_path / "device.shard"))}
    held = held_data({"encoder": tiny_encoder, "pooling": "mean"}, node)
    assert (held.partition_id, held.table.classes) == (7, ("cat", "dog"))
    assert held.table.features.shape == (1, 12, 16)
    assert held.rows.training.tolist() == list(range(12))
    evaluating = held_data({"encoder": tiny_encoder, "evaluate": "clients"}, node).rows
    assert sorted([*evaluating.training, *evaluating.held_out]) == list(range(12))
    assert len(evaluating.held_out) == 1


def test_shards_that_cannot_be_used_are_named(tiny_encoder: str, tmp_path: Path) -> None:
    def refused(path: Path, words: str) -> None:
        with pytest.raises(InputError, match=words) as caught:
            held_data({"encoder": tiny_encoder}, {"partition-id": 0, "shard": str(path)})
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    refused(
        shard(tmp_path / "big.shard", image_size=32, patch_size=4),
        r"was made for 32-pixel images and 4-pixel patches; encoder .* expects 8 and 2",
    )
    refused(shard(tmp_path / "unlabelled.shard", label=-1), "training needs labels")
    refused(tmp_path / "absent.shard", "no such file")
    cut = shard(tmp_path / "cut.shard")
    cut.write_bytes(cut.read_bytes()[:-5])
    refused(cut, "cut short")
    changed = shard(tmp_path / "changed.shard")
    changed.write_bytes(changed.read_bytes()[:-1] + b"\x07")
    refused(changed, "do not match its SHA-256")


def test_a_node_without_a_partition_is_told(tiny_encoder: str) -> None:
    with pytest.raises(InputError, match="partition-id = None in the node config; expected a whole number from 0"):
        held_data({"encoder": tiny_encoder}, {})
    with pytest.raises(InputError, match="partition-id = 2 in the node config; expected 0 to 1"):
        held_data({"encoder": tiny_encoder}, {"partition-id": 2, "num-partitions": 2})
