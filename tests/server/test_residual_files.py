"""The files that residuals of error feedback go on from: what is written when, what is named, and what goes wrong."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from fl_sparse.codec.residual import Residual
from server import residual_files as files_module
from server import rounds
from server.checkpoint import LAST, stored_checkpoints
from server.residual_files import STATE, ResidualFiles, digest_of
from server.run_folder import RunFolder, read_records
from tests.server.killed_runs import (
    assert_same,
    checkpoints,
    named_files,
    play,
    play_in_pieces,
    residual_files,
    with_residuals,
)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch) -> None:
    monkeypatch.setattr(rounds, "draw_accuracy", lambda *args, **keys: None)
    monkeypatch.setattr(rounds, "draw_partition", lambda *args, **keys: None)


def residual(seed: int, number: int = 1) -> Residual:
    rng = np.random.default_rng(seed)
    shapes = {"output.weight": (2, 3), "output.bias": (2,)}
    return Residual(number, {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()})


def is_same(one: Residual, other: Residual) -> bool:
    return (one.round, {name: values.tobytes() for name, values in one.values.items()}) == (
        other.round,
        {name: values.tobytes() for name, values in other.values.items()},
    )


# What is written when


def test_only_what_has_changed_is_written(tmp_path: Path, monkeypatch) -> None:
    written: list[str] = []
    real = files_module.write_tensors

    def counted(path: Path, *args: Any) -> None:
        written.append(path.name)
        real(path, *args)

    monkeypatch.setattr(files_module, "write_tensors", counted)
    play(with_residuals(dropout_probability=0.3), tmp_path / "run")
    records = read_records(RunFolder(tmp_path / "run"))[1:]
    answered = sum(record.answered for record in records)
    assert len(set(written)) == len(written) == answered
    assert 0 < answered < sum(record.asked for record in records) < 4 * len(records)
    for file in (RunFolder(tmp_path / "run").checkpoints / "residuals").iterdir():
        assert written.count(file.name) == 1


def test_a_file_is_not_touched_again_by_saving_nor_by_going_on(tmp_path: Path) -> None:
    folder = tmp_path / "residuals"
    files = ResidualFiles(folder)
    kept = {3: residual(0), 0: residual(1)}
    state = files.save(kept)[STATE]
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(times) == 2
    same = files.save(dict(reversed(kept.items())))[STATE]
    gone_on = ResidualFiles(folder)
    found = gone_on.load(state)
    again = gone_on.save(found)[STATE]
    for other in (same, again):
        assert {name: array.tobytes() for name, array in other.items()} == {
            name: array.tobytes() for name, array in state.items()
        }
    assert found.keys() == kept.keys()
    assert all(is_same(found[client], kept[client]) for client in kept)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    changed = gone_on.save(found | {0: residual(1, number=2)})[STATE]
    assert changed["rounds"].tolist() == [2, 1]
    assert len(list(folder.iterdir())) == 3


def test_nothing_is_kept_where_nothing_is_lost_or_nobody_asks(tmp_path: Path) -> None:
    assert ResidualFiles(tmp_path / "residuals").save({}) == {}
    play(with_residuals(update_format="float32", error_feedback=False, num_server_rounds=2), tmp_path / "exact")
    play(with_residuals(keep_residuals=False, num_server_rounds=2), tmp_path / "unkept")
    for name in ("residuals", "exact/checkpoints/residuals", "unkept/checkpoints/residuals"):
        assert not (tmp_path / name).exists()
    assert not any(
        STATE in checkpoint.states for name in ("exact", "unkept") for checkpoint in checkpoints(tmp_path / name)
    )


# What is named


@given(st.integers(1, 5), st.integers(0, 9), st.sampled_from(["round", "name", "shape", "value", "sign of zero"]))
def test_a_digest_is_of_round_names_shapes_and_bits(number: int, seed: int, change: str) -> None:
    one = residual(seed, number)
    written = hashlib.blake2b(str(number).encode(), digest_size=16)
    for name in ("output.bias", "output.weight"):
        written.update(f" {name} {one.values[name].shape} ".encode() + one.values[name].tobytes())
    assert digest_of(one) == written.digest()
    assert digest_of(Residual(number, dict(reversed(one.values.items())))) == digest_of(one)
    values = {name: array.copy() for name, array in one.values.items()}
    if change == "round":
        number += 1
    elif change == "name":
        values["hidden.0.bias"] = values.pop("output.bias")
    elif change == "shape":
        values["output.weight"] = values["output.weight"].reshape(3, 2)
    elif change == "value":
        values["output.bias"][0] = np.nextafter(values["output.bias"][0], np.float32(9))
    else:
        values["output.bias"][1], one.values["output.bias"][1] = np.float32(-0.0), np.float32(0.0)  # type: ignore[index]
    assert digest_of(Residual(number, values)) != digest_of(one)


def test_the_last_checkpoints_name_what_is_there_by_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "run"
    play(with_residuals(), path)
    last = checkpoints(path)
    assert [checkpoint.round for checkpoint in last] == [5, 6, 7]
    assert residual_files(path).keys() == set().union(*map(named_files, last))
    # Clients trained in turn, two a round: fewer files than clients times checkpoints, and more than one checkpoint's.
    assert len(named_files(last[-1])) == 4 < len(residual_files(path)) < 3 * 4
    folder = RunFolder(path).checkpoints / "residuals"
    for checkpoint in last:
        state = checkpoint.states[STATE]
        assert state["clients"].tolist() == sorted(state["clients"].tolist())
        for client, number, digest in zip(state["clients"], state["rounds"], state["digests"], strict=True):
            values = load_file(folder / f"client-{client}-{digest.tobytes().hex()}.safetensors")
            assert digest_of(Residual(int(number), values)) == digest.tobytes()
            assert number <= checkpoint.round
            assert any(array.any() for array in values.values())


def test_files_that_none_of_the_last_checkpoints_names_are_gone(tmp_path: Path) -> None:
    for name, kills in (("whole", ()), ("late", (4,)), ("often", (1, 2, 3, 4))):
        path = tmp_path / name
        play_in_pieces(with_residuals(), path, kills)
        assert residual_files(path).keys() == set().union(*map(named_files, checkpoints(path))), name
    assert residual_files(tmp_path / "whole") == residual_files(tmp_path / "often")
    # Until as many checkpoints are written as are left of a run, those before may be gone back to.
    play_in_pieces(with_residuals(num_server_rounds=5), tmp_path / "soon", (4,))
    assert residual_files(tmp_path / "soon").keys() > set().union(*map(named_files, checkpoints(tmp_path / "soon")))


def test_a_residual_that_is_dropped_is_not_gone_on_from(tmp_path: Path) -> None:
    folder = tmp_path / "residuals"
    files = ResidualFiles(folder)
    for number in range(LAST + 1):
        state = files.save({0: residual(0)} | ({1: residual(1)} if number == 0 else {}))[STATE]
        files.drop_unnamed()
        assert len(list(folder.iterdir())) == (2 if number < LAST else 1)
    assert state["clients"].tolist() == [0]
    assert ResidualFiles(folder).load(state).keys() == {0}
    # One that comes back is written again.
    files.save({0: residual(0), 1: residual(1)})
    assert len(list(folder.iterdir())) == 2


def test_any_of_the_last_checkpoints_can_be_gone_on_from(tmp_path: Path) -> None:
    play(with_residuals(), tmp_path / "whole")
    for back in range(1, LAST):
        path = tmp_path / str(back)
        shutil.copytree(tmp_path / "whole", path)
        (path / "summary.json").unlink()
        for newest in stored_checkpoints(RunFolder(path).checkpoints)[-back:]:
            newest.unlink()
        play(with_residuals(), path)
        assert_same(tmp_path / "whole", path, back)
