"""Runs: resuming bit for bit, also after a kill; refusals; what is written."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from fl_sparse.__main__ import main
from fl_sparse.encoder import load_encoder
from fl_sparse.encoder.header import read_header
from fl_sparse.errors import InputError
from fl_sparse.pretraining.beginning import STATE_FILE, check_folder
from fl_sparse.pretraining.loop import epoch_rows, make_batch, pretrain
from fl_sparse.pretraining.recipe import Recipe
from fl_sparse.pretraining.reporting import describe, duration
from fl_sparse.pretraining.result import export_state

RECIPE = Recipe(
    model="test_vit",
    image_size=16,
    patch_size=4,
    decoder_width=16,
    decoder_depth=1,
    decoder_heads=2,
    batch_size=8,
    accumulate=2,
    epochs=3,
    warmup_epochs=1,
    precision="bfloat16",
    crop_scale=0.5,
)


class Noise:
    fingerprint = "noise"

    def __len__(self) -> int:
        return 21

    def pixels(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 256, (16, 16, 3), dtype=np.uint8)


class InterruptionError(Exception):
    """Stands for whatever ends a run early."""


def same_bits(first: Path, second: Path) -> None:
    left, right = load_file(first), load_file(second)
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    return tmp_path / "whole", tmp_path / "parts"


def test_interrupted_run_ends_in_the_same_bits(folders: tuple[Path, Path]) -> None:
    whole, parts = folders
    _, progress = pretrain(Noise(), RECIPE, whole)

    def stop(report) -> None:
        if (report.epoch, report.step) in {(0, 1), (1, 2)}:
            stops.append(report)
            if len(stops) in {1, 2}:
                raise InterruptionError

    stops: list = []
    for _ in range(2):
        with pytest.raises(InterruptionError):
            pretrain(Noise(), RECIPE, parts, on_step=stop)
    _, resumed = pretrain(Noise(), RECIPE, parts, workers=3)
    assert resumed.losses == progress.losses
    assert len(resumed.losses) == 3
    same_bits(whole / STATE_FILE, parts / STATE_FILE)


KILLED = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_pretraining_run import RECIPE, Noise
from fl_sparse.pretraining.loop import pretrain
import torch
torch.set_num_threads(int(sys.argv[3]))
def on_step(report):
    if report.epoch == 1:
        print("ready", flush=True)
        time.sleep(60)
pretrain(Noise(), RECIPE, Path(sys.argv[1]), on_step=on_step)
"""


def test_killed_run_ends_in_the_same_bits(folders: tuple[Path, Path]) -> None:
    whole, parts = folders
    pretrain(Noise(), RECIPE, whole)
    arguments = [sys.executable, "-c", KILLED, str(parts), str(Path(__file__).parent), str(torch.get_num_threads())]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    (parts / f".{STATE_FILE}.partial").write_bytes(b"half a file")
    pretrain(Noise(), RECIPE, parts)
    same_bits(whole / STATE_FILE, parts / STATE_FILE)


def test_another_recipe_is_refused_and_more_epochs_are_noted(folders: tuple[Path, Path]) -> None:
    out, _ = folders
    pretrain(Noise(), replace(RECIPE, epochs=2), out)
    before = (out / STATE_FILE).read_bytes()
    with pytest.raises(InputError, match=r"another recipe: learning_rate 0\.001 \(now 0\.1\)"):
        pretrain(Noise(), replace(RECIPE, learning_rate=0.1), out)
    assert (out / STATE_FILE).read_bytes() == before
    _, progress = pretrain(Noise(), RECIPE, out)
    assert progress.schedule == "cosine to 2 epochs until epoch 2, then to 3"


def test_a_warm_up_that_followed_from_the_epochs_is_not_blamed(folders: tuple[Path, Path]) -> None:
    out, _ = folders
    pretrain(Noise(), replace(RECIPE, epochs=1, warmup_epochs=0.05), out)
    longer = replace(RECIPE, epochs=2, warmup_epochs=0.1)
    with pytest.raises(InputError, match=r"recipe: epochs 1 \(now 2\); .* go on with --warmup-epochs 0\.05$"):
        pretrain(Noise(), longer, out)
    with pytest.raises(InputError, match=r"recipe: epochs 1 \(now 2\), seed 0 \(now 1\); use another folder$"):
        pretrain(Noise(), replace(longer, seed=1), out)
    _, progress = pretrain(Noise(), replace(longer, warmup_epochs=0.05), out)
    assert progress.epochs_done == 2


def test_only_a_run_or_its_unfinished_beginning_is_gone_on_with(folders: tuple[Path, Path], tmp_path: Path) -> None:
    out, _ = folders
    check_folder(tmp_path / "new")
    check_folder(out)
    (out / "pictures").mkdir()
    (out / f".{STATE_FILE}.12-ab.partial").write_bytes(b"half a file")
    check_folder(out)
    for name in ("encoder.safetensors", "loss.png", "pictures/epoch-0001.png", "config.toml"):
        (out / name).write_text("another's")
        with pytest.raises(InputError, match=f"holds {name.split('/')[0]} and no {STATE_FILE}"):
            check_folder(out)
        (out / name).unlink()
    (out / STATE_FILE).write_text("whatever it is, it is read first")
    (out / "loss.png").write_text("its own")
    check_folder(out)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--model", "vit_tny_patch16_224"], "--model 'vit_tny_patch16_224' is unknown; did you mean 'vit_tiny"),
        (["--model", "resnet18"], "resnet18"),
        (["--start-from", "shipped"], "--start-from: tensors do not fit"),
        (["--limit", "1", "--accumulate", "2", "--batch-size", "2"], "1 images"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_found_before_anything_is_said_or_left(more, said: str, tmp_path: Path, capsys) -> None:
    sizes = ["--model", "test_vit", "--image-size", "16", "--device", "cpu", "--limit", "8"]
    assert main(["pretrain", "--data", "digits", *sizes, "--out", str(tmp_path / "run"), *more]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_other_images_are_refused(folders: tuple[Path, Path]) -> None:
    out, _ = folders
    pretrain(Noise(), replace(RECIPE, epochs=1, warmup_epochs=0), out)
    other = Noise()
    other.fingerprint = "other"
    with pytest.raises(InputError, match="other images"):
        pretrain(other, RECIPE, out)


def test_damaged_state_is_refused(folders: tuple[Path, Path]) -> None:
    out, _ = folders
    pretrain(Noise(), replace(RECIPE, epochs=1, warmup_epochs=0), out)
    state = out / STATE_FILE
    state.write_bytes(state.read_bytes()[:-7])
    with pytest.raises(InputError, match="not a whole pretraining state") as caught:
        pretrain(Noise(), RECIPE, out)
    assert str(state) in str(caught.value)


def test_run_starts_from_given_weights(folders: tuple[Path, Path]) -> None:
    first, second = folders
    model, _ = pretrain(Noise(), RECIPE, first)
    recipe = replace(RECIPE, start_from="digest", learning_rate=1e-12, weight_decay=0.0)
    continued, progress = pretrain(Noise(), recipe, second, start=model.encoder)
    assert progress.schedule == "a new cosine from the weights of another encoder"
    torch.testing.assert_close(continued.encoder.state_dict(), model.encoder.state_dict(), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("start", [False, True])
def test_depth_is_chosen_or_that_of_the_start(start: bool, tmp_path: Path) -> None:
    two = tmp_path / "two.safetensors"
    assert main(["convert", "shipped", "--blocks", "2", "--out", str(two)]) == 0
    out = tmp_path / "run"
    depth = ["--start-from", str(two)] if start else ["--blocks", "2"]
    sizes = ["--limit", "4", "--batch-size", "4", "--epochs", "1", "--device", "cpu", "--decoder-depth", "1"]
    assert main(["pretrain", "--data", "digits", *depth, *sizes, "--out", str(out)]) == 0
    encoder = load_encoder(str(out / "encoder.safetensors"))
    assert encoder.spec.options["depth"] == len(encoder.model.blocks) == 2


def test_batches_are_functions_of_seed_epoch_and_step() -> None:
    rows = epoch_rows(RECIPE, 21, 0)
    assert rows.shape == (2, 8)
    assert len(set(rows.ravel())) == 16
    batch, again = (make_batch(Noise(), RECIPE, rows[1], 0, 1) for _ in range(2))
    np.testing.assert_array_equal(batch.patches, again.patches)
    np.testing.assert_array_equal(np.sort(batch.order, axis=1), np.tile(np.arange(16), (8, 1)))
    assert not np.array_equal(batch.order, make_batch(Noise(), RECIPE, rows[1], 1, 1).order)
    assert not np.array_equal(batch.order, make_batch(Noise(), replace(RECIPE, seed=1), rows[1], 0, 1).order)
    assert not np.array_equal(rows, epoch_rows(RECIPE, 21, 1))


def test_fewer_images_than_a_batch_make_a_smaller_one() -> None:
    assert epoch_rows(replace(RECIPE, batch_size=64), 21, 0).shape == (1, 20)


def test_schedule_rises_then_falls_to_zero() -> None:
    recipe = Recipe(epochs=10, warmup_epochs=2, learning_rate=1.0)
    assert [recipe.learning_rate_at(epoch) for epoch in (0, 1, 2)] == [0.0, 0.5, 1.0]
    assert recipe.learning_rate_at(6) == pytest.approx(0.5)
    assert recipe.learning_rate_at(10) == pytest.approx(0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"patch_size": 5},
        {"decoder_width": 126},
        {"batch_size": 10, "accumulate": 3},
        {"mask_ratio": 1.0},
        {"mask_ratio": 0.0},
        {"crop_scale": 0.0},
        {"warmup_epochs": 100.0},
        {"learning_rate": 0.0},
        {"precision": "float16"},
    ],
)
def test_recipes_that_cannot_be_are_refused(wrong) -> None:
    with pytest.raises(InputError) as caught:
        Recipe(**wrong)
    assert next(iter(wrong)) in str(caught.value)


def test_state_exports_to_an_encoder(folders: tuple[Path, Path], tmp_path: Path) -> None:
    out, _ = folders
    model, _ = pretrain(Noise(), RECIPE, out)
    path = tmp_path / "encoder.safetensors"
    export_state(out / STATE_FILE, path, data="noise", commit="abc")
    header = read_header(path)
    assert (header.data, header.commit, header.epochs) == ("noise", "abc", 3)
    assert Recipe.from_dict(header.recipe) == RECIPE
    loaded = load_encoder(str(path)).model.state_dict()
    torch.testing.assert_close(loaded, model.encoder.state_dict(), atol=1e-3, rtol=1e-3)


def command(out: Path, *more: str) -> subprocess.CompletedProcess:
    arguments = (
        *("--data", "digits", "--limit", "32", "--model", "test_vit", "--image-size", "16", "--out", str(out)),
        *("--epochs", "2", "--batch-size", "16", "--decoder-width", "16", "--decoder-depth", "1", "--keep-every", "1"),
        *("--device", "cpu", "--threads", "1"),
        *more,
    )
    return subprocess.run(
        [sys.executable, "-m", "fl_sparse", "pretrain", *arguments], capture_output=True, text=True, check=False
    )


def test_command_leaves_an_encoder_pictures_and_a_curve(tmp_path: Path) -> None:
    out = tmp_path / "run"
    started = time.monotonic()
    done = command(out)
    assert done.returncode == 0, done.stderr
    assert "images/s" in done.stdout
    assert time.monotonic() - started < 120
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {
        "encoder-0001.safetensors",
        "encoder-0002.safetensors",
        "encoder.safetensors",
        "loss.png",
        "pictures/epoch-0001.png",
        "pictures/epoch-0002.png",
        STATE_FILE,
    }
    header = read_header(out / "encoder.safetensors")
    assert header.epochs == 2
    assert "digits" in header.data
    assert json.loads(json.dumps(dict(header.recipe)))["warmup_epochs"] == 0.1
    with Image.open(out / "pictures" / "epoch-0002.png") as picture:
        assert picture.size == (8 * 96, 3 * 96)
    assert load_encoder(str(out / "encoder.safetensors")).spec.patch_size == 4
    refused = command(out, "--learning-rate", "0.5")
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert "another recipe" in refused.stderr


def test_report_is_short() -> None:
    from fl_sparse.pretraining.loop import StepReport

    line = describe(StepReport(799, 1250, 1250, 0.51234, 1e-3, 21345.6, 86399.0))
    assert line == "epoch 800 step 1250/1250  loss 0.5123  21,346 images/s  23:59:59 left"
    assert duration(65.4) == "1:05"


def test_needs_no_flower() -> None:
    code = (
        "import sys; import fl_sparse.commands.pretrain, fl_sparse.data.sources, fl_sparse.pretraining.loop; "
        "print([name for name in sys.modules if name.split('.')[0] in {'flwr', 'flwr_datasets', 'ray'}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
