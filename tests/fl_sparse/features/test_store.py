"""The store of features: one computation, one file, nothing believed without its hash."""

import logging
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fl_sparse.features import Features, feature_key, stored_features

KEY = "k"


def some_features(seed: int = 0) -> Features:
    rng = np.random.default_rng(seed)
    return Features.of(*(rng.normal(size=(2, 5, 3)).astype(np.float32) for _ in range(2)))


def must_not_compute() -> Features:
    raise AssertionError("computed again")


def assert_same(one: Features, other: Features) -> None:
    np.testing.assert_array_equal(one.cls, other.cls)
    np.testing.assert_array_equal(one.mean, other.mean)


def test_is_computed_once_and_read_back_memory_mapped(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    first = stored_features(folder, KEY, some_features)
    second = stored_features(folder, KEY, must_not_compute)
    assert_same(first, some_features())
    assert_same(second, some_features())
    assert isinstance(second.both.base, np.memmap)
    assert not second.both.flags.writeable
    assert sorted(path.name for path in folder.iterdir()) == ["k.lock", "k.safetensors"]


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    stored_features(tmp_path, KEY, some_features)
    tensors = load_file(tmp_path / "k.safetensors")
    assert list(tensors) == ["cls+mean"]
    np.testing.assert_array_equal(tensors["cls+mean"], some_features().both)


@pytest.mark.parametrize("place", [0, 9, 60, -1, -40])
def test_a_changed_byte_is_found_named_and_rebuilt(tmp_path: Path, place: int, caplog) -> None:
    stored_features(tmp_path, KEY, some_features)
    path = tmp_path / "k.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 0x41
    path.write_bytes(damaged)
    with caplog.at_level(logging.WARNING):
        assert_same(stored_features(tmp_path, KEY, some_features), some_features())
    assert str(path) in caplog.text
    assert "damaged" in caplog.text
    assert len(caplog.records) == 1
    assert_same(stored_features(tmp_path, KEY, must_not_compute), some_features())


def test_another_type_of_the_same_bytes_is_found(tmp_path: Path, caplog) -> None:
    stored_features(tmp_path, KEY, some_features)
    path = tmp_path / "k.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"U32"'))
    assert stored_features(tmp_path, KEY, some_features).both.dtype == np.float32
    assert "damaged" in caplog.text


def test_a_changed_byte_is_found_in_any_block_by_any_number_of_threads(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr("fl_sparse.features.store.BLOCK_BYTES", 16)
    monkeypatch.setattr("fl_sparse.threads.WORTHWHILE", 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    stored_features(tmp_path, KEY, some_features)
    path = tmp_path / "k.safetensors"
    whole = path.read_bytes()
    size = some_features().both.nbytes
    assert size > 10 * 16
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert_same(stored_features(tmp_path, KEY, must_not_compute), some_features())
    places = range(len(whole) - size, len(whole), 15)
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(AssertionError, match="computed again"):
            stored_features(tmp_path, KEY, must_not_compute)
    path.write_bytes(whole)
    assert_same(stored_features(tmp_path, KEY, must_not_compute), some_features())
    assert len(caplog.records) == len(places)


@pytest.mark.parametrize("size", [0, 4, 100, 150])
def test_a_truncated_file_is_found_named_and_rebuilt(tmp_path: Path, size: int, caplog) -> None:
    stored_features(tmp_path, KEY, some_features)
    path = tmp_path / "k.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    assert_same(stored_features(tmp_path, KEY, some_features), some_features())
    assert str(path) in caplog.text


def test_a_failed_computation_leaves_no_file_and_the_next_one_works(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="computed again"):
        stored_features(tmp_path, KEY, must_not_compute)
    assert not (tmp_path / "k.safetensors").exists()
    assert_same(stored_features(tmp_path, KEY, some_features), some_features())


def _slowly(folder: Path, calls: Path) -> None:
    def compute() -> Features:
        with calls.open("a") as file:
            file.write("x")
        time.sleep(0.2)
        return some_features()

    assert_same(stored_features(folder, KEY, compute), some_features())


def test_processes_at_once_compute_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    arguments = (tmp_path / "store", tmp_path / "calls")
    processes = [context.Process(target=_slowly, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "calls").read_text() == "x"


def test_a_lock_left_by_a_dead_process_holds_nobody_up(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib; from fl_sparse.features.store import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "k.safetensors"], check=False)
    assert (tmp_path / "k.lock").exists()
    assert_same(stored_features(tmp_path, KEY, some_features), some_features())


def test_keys_tell_shards_encoders_and_precisions_apart() -> None:
    keys = {feature_key("a", "b", "float32"), feature_key("b", "a", "float32"), feature_key("a", "b", "bfloat16")}
    assert len(keys) == 3
    assert feature_key("a", "b", "float32") in keys


def test_reading_needs_numpy_alone(tmp_path: Path) -> None:
    stored_features(tmp_path, KEY, some_features)
    code = (
        "import sys, pathlib; from fl_sparse.features import stored_features, pool\n"
        "pool(stored_features(pathlib.Path(sys.argv[1]), 'k', None), 'both')\n"
        "assert not {'torch', 'timm', 'safetensors', 'filelock'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)
