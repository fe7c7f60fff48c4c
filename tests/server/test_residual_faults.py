"""Error feedback that goes on: what is refused, clients whose messages go one by one, and a kill at any moment."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable
from safetensors.numpy import load_file

from experiments.__main__ import main
from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from server import residual_files as files_module
from server import rounds
from server.checkpoint import load_checkpoint
from server.records import RoundRecord
from server.residual_files import ResidualFiles
from tests.server.killed_runs import (
    KilledError,
    Watcher,
    assert_same,
    named_files,
    play,
    play_in_pieces,
    with_residuals,
)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch) -> None:
    monkeypatch.setattr(rounds, "draw_accuracy", lambda *args, **keys: None)
    monkeypatch.setattr(rounds, "draw_partition", lambda *args, **keys: None)


def unchanged(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Change nothing, and by being there make every message go through the ClientApp, one by one."""
    return call_next(message, context)


def run_of_images(tiny_encoder: str, out: Path, **keys: str) -> Path:
    """Run by the command, and take away what follows round 2; return the folder."""
    chosen = {"encoder": tiny_encoder, "strategy": "fedavg", "hidden-widths": "12,10", "num-server-rounds": "4"}
    chosen |= {"local-steps": "2", "num-clients": "2", "update-format": "int8", "error-feedback": "true"}
    overrides = [part for key, value in (chosen | keys).items() for part in ("-c", f"{key}={value}")]
    assert main(["run", *overrides, "--out", str(out.parent), "--name", out.name]) == 0
    for later in (3, 4):
        (out / "checkpoints" / f"round-{later:06d}.safetensors").unlink()
    (out / "summary.json").unlink()
    return out


def cut(path: Path, other: bytes) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path: Path, other: bytes) -> None:
    path.write_bytes(b"")


def one_bit(path: Path, other: bytes) -> None:
    held = bytearray(path.read_bytes())
    held[-1] ^= 1
    path.write_bytes(bytes(held))


def anothers(path: Path, other: bytes) -> None:
    path.write_bytes(other)


def missing(path: Path, other: bytes) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [missing, cut, emptied, one_bit, anothers])
def test_a_missing_or_damaged_file_is_named(
    damage: Callable[[Path, bytes], None], tiny_encoder: str, tmp_path: Path, capsys
) -> None:
    whole = tmp_path / "run"
    run_of_images(tiny_encoder, whole)
    expected = load_file(whole / "model.safetensors")
    (whole / "model.safetensors").unlink()
    named = named_files(load_checkpoint(whole / "checkpoints" / "round-000002.safetensors"))
    file, other = (whole / "checkpoints" / "residuals" / name for name in sorted(named))
    held = file.read_bytes()
    damage(file, other.read_bytes())
    before = {path.name: path.read_bytes() for path in whole.rglob("*") if path.is_file() and path != file}
    capsys.readouterr()
    assert main(["run", "--resume", str(whole)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert str(file) in said
    way_out = "; to go on from an earlier round, delete checkpoints/round-000002.safetensors\n"
    assert said.endswith(way_out)
    if damage in (one_bit, anothers):
        assert said == f"error: {file}: not the residual that the checkpoint names; the file is damaged{way_out}"
    # The refused start took nothing away: with the file in its place, the run goes on.
    after = {path.name: path.read_bytes() for path in whole.rglob("*") if path.is_file() and path != file}
    assert after.keys() == before.keys()
    file.write_bytes(held)
    assert main(["run", "--resume", str(whole)]) == 0
    for name, values in load_file(whole / "model.safetensors").items():
        np.testing.assert_array_equal(values, expected[name])


def test_a_run_that_keeps_no_residuals_begins_with_none_and_says_nothing(tmp_path: Path, capsys) -> None:
    models = {}
    for kept in (True, False):
        config = with_residuals(keep_residuals=kept, strategy="fedavg", capacities="1")
        for name, kills in (("whole", ()), ("killed", (3,)), ("again", (3,))):
            path = tmp_path / f"{name} {kept}"
            heard = [note for number in (*kills, None) for note in play(config, path, number)]
            assert heard == []
            models[name, kept] = load_file(path / "model.safetensors")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")

    def same(one: tuple[str, bool], other: tuple[str, bool]) -> bool:
        return all((models[one][name] == values).all() for name, values in models[other].items())

    assert same(("whole", True), ("whole", False))
    assert same(("whole", True), ("killed", True))
    assert same(("killed", False), ("again", False))
    assert not same(("whole", False), ("killed", False))


class Held:
    """Measures the files of a run after each round, when none has been dropped."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.most, self._folder = 0, folder
        real = ResidualFiles.drop_unnamed

        def measured(files: ResidualFiles) -> None:
            tensors = [load_file(path) for path in folder.glob("*.safetensors")]
            self.most = max(self.most, sum(array.nbytes for held in tensors for array in held.values()))
            real(files)

        monkeypatch.setattr(ResidualFiles, "drop_unnamed", measured)


def refusal(config: RunConfig, path: Path) -> float:
    """Return the GB that a run is refused for."""
    with pytest.raises(InputError) as refused:
        play(config, path)
    said = str(refused.value)
    assert "\n" not in said
    assert said.endswith(
        "more than 0; expected fewer clients, smaller hidden-widths, or keep-residuals = false, with "
        "which a run that goes on begins with none"
    )
    found = re.match(r"the residuals of error feedback would take (\S+) GB in checkpoints, ", said)
    assert found is not None
    return float(found[1])


@pytest.mark.parametrize(
    "keys",
    [
        {"clients_per_round": 4},
        {"strategy": "heterofl", "capacities": "1,0.8,0.6,0.4", "num_clients": 4, "clients_per_round": 2},
        {"strategy": "fedavg", "capacities": "1"},
        {"strategy": "fedavg", "capacities": "1", "num_clients": 9, "num_server_rounds": 3},
        {"strategy": "ist", "capacities": "1", "num_subnets": 2, "repartition_every": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("mods", [None, [unchanged]])
def test_the_bytes_foreseen_are_enough(keys: dict[str, Any], mods: Any, tmp_path: Path, monkeypatch) -> None:
    config = with_residuals(**keys)
    with monkeypatch.context() as patch:
        patch.setattr(files_module, "MOST_BYTES", 0)
        foreseen = refusal(config, tmp_path / "run") * 1e9
    assert not (tmp_path / "run").exists()
    held = Held(tmp_path / "run" / "checkpoints" / "residuals", monkeypatch)
    play(config, tmp_path / "run", mods=mods)
    assert 0 < held.most <= 1.01 * foreseen
    # A bound that nobody could meet would refuse what works.
    assert foreseen <= 4 * held.most


def test_more_than_the_disk_should_hold_is_refused_before_the_folder_is_made(
    tiny_encoder: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(files_module, "MOST_BYTES", 1000)
    keys = {"encoder": tiny_encoder, "strategy": "fedavg", "hidden-widths": "12,10", "num-server-rounds": "2"}
    keys |= {"num-clients": "2", "update-format": "int8", "error-feedback": "true"}
    overrides = [part for key, value in keys.items() for part in ("-c", f"{key}={value}")]
    assert main(["run", *overrides, "--out", str(tmp_path), "--name", "run"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: the residuals of error feedback would take ")
    assert said.count("\n") == 1
    assert "keep-residuals = false" in said
    assert not (tmp_path / "run").exists()
    assert main(["run", *overrides, "-c", "keep-residuals=false", "--out", str(tmp_path), "--name", "run"]) == 0
    assert not (tmp_path / "run" / "checkpoints" / "residuals").exists()


# Clients whose messages go one by one


@pytest.mark.parametrize("update_format", ["int8", "bfloat16"])
def test_a_client_app_with_a_mod_goes_on(update_format: str, tmp_path: Path) -> None:
    config = with_residuals(update_format=update_format)
    play(config, tmp_path / "cohort")
    play(config, tmp_path / "messages", mods=[unchanged])
    play_in_pieces(config, tmp_path / "killed", (0, 2, 5), mods=[unchanged])
    assert_same(tmp_path / "messages", tmp_path / "killed")
    # The same bits whoever keeps them, so that a run may even change over.
    assert_same(tmp_path / "cohort", tmp_path / "messages")
    play(config, tmp_path / "changing", 2, mods=[unchanged])
    play(config, tmp_path / "changing", 4)
    play(config, tmp_path / "changing", mods=[unchanged])
    assert_same(tmp_path / "cohort", tmp_path / "changing")


# A kill at any moment

PRIMITIVES = ("fsync", "replace", "unlink", "mkdir")


class Power:
    """Fails at the n-th step that changes the disk, and at every one after it: nothing is tidied up."""

    def __init__(self, monkeypatch, fails_at: int | None) -> None:
        self.steps: Counter[str] = Counter()
        self.on = False
        self._fails_at = fails_at
        reals = {name: getattr(os, name) for name in PRIMITIVES} | {"fsync": lambda descriptor: None}
        for name, real in reals.items():
            monkeypatch.setattr(os, name, self._counted(name, real))

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **keys: Any) -> Any:
            if self.on:
                if self._fails_at is not None and self.steps.total() >= self._fails_at:
                    raise KilledError
                self.steps[name] += 1
            return real(*args, **keys)

        return step


class TurnsOn(Watcher):
    """Lets the power fail from a round on."""

    def __init__(self, power: Power, after: int) -> None:
        super().__init__()
        self._power, self._after = power, after

    def round(self, record: RoundRecord, total: int) -> None:
        self._power.on = record.round >= self._after


def test_a_run_killed_at_any_moment_goes_on(tmp_path: Path, monkeypatch) -> None:
    config = with_residuals(num_server_rounds=4, num_clients=3, capacities="1,0.8,0.6", hidden_widths="5")
    play(config, tmp_path / "whole")
    for count in range(1000):
        path = tmp_path / str(count)
        with monkeypatch.context() as patch:
            power = Power(patch, count)
            try:
                play(config, path, watcher=TurnsOn(power, 1))
            except KilledError:
                pass
            else:
                break
        assert power.steps.total() == count
        if not (path / "summary.json").exists():
            play(config, path)
        assert_same(tmp_path / "whole", path, count)
        shutil.rmtree(path)
    # Three rounds of two residuals and a checkpoint, the model and the summary; each takes its partial file away.
    assert power.steps["replace"] == 3 * (2 + 1) + 2
    # Two old checkpoints are dropped, and the residuals that only they name.
    assert power.steps["unlink"] > power.steps["replace"] + 2
