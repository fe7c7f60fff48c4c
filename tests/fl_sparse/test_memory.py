"""What does not fit is refused before it starts, with the estimate."""

from pathlib import Path

import pytest

from fl_sparse import memory
from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.federation import tables, training_table
from fl_sparse.memory import available_memory, check_memory


def test_available_memory_is_what_linux_says(tmp_path: Path, monkeypatch) -> None:
    said = tmp_path / "meminfo"
    said.write_text("MemTotal:       2000 kB\nMemAvailable:   1500 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", said)
    assert available_memory() == 1500 * 1024
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "absent")
    assert (available_memory() or 0) > 10**6


def test_more_than_there_is_is_refused_with_the_estimate() -> None:
    check_memory(10**9, "a thing", "Expected less", 10**9)
    check_memory(10**15, "a thing", "Expected less", None)
    with pytest.raises(InputError, match=r"^things take about 2 GB of memory; 1 GB are available. Expected less$"):
        check_memory(2 * 10**9, "things", "Expected less", 10**9)


def test_images_that_do_not_fit_are_refused_before_any_is_read(tiny_encoder: str, monkeypatch) -> None:
    config = RunConfig(encoder=tiny_encoder, mask_ratio=0.25, data_seed=77)
    monkeypatch.setattr(tables, "available_memory", lambda: 1000)
    monkeypatch.setattr(tables, "build_shard", None)
    # 1,294 training images that clients hold, 12 of their 16 patches of 2 x 2 pixels, 3 channels.
    with pytest.raises(InputError, match=r"visible patches of 1,294 images in 1 views take about 0\.000186 GB"):
        training_table(config, 4)


def test_features_that_do_not_fit_are_refused_before_any_is_computed(tiny_encoder: str, monkeypatch) -> None:
    config = RunConfig(encoder=tiny_encoder, mask_ratio=0.25, data_seed=78)
    memories = iter([10**9, 1000])
    monkeypatch.setattr(tables, "available_memory", lambda: next(memories))
    with pytest.raises(InputError, match=r"features of 1,294 images in 1 views take about 0\.000331 GB"):
        training_table(config, 4)
