"""The probe's pixels, table and command."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from fl_sparse.__main__ import main
from fl_sparse.data.sources import load_images
from fl_sparse.encoder.export import save_encoder
from fl_sparse.encoder.header import EncoderHeader
from fl_sparse.encoder.load import build_model
from fl_sparse.masks.spec import MaskSpec
from fl_sparse.probe.grid import training_rows
from fl_sparse.probe.measurement import Measurement
from fl_sparse.probe.pixels import pixel_features
from fl_sparse.probe.report import probe_table
from fl_sparse.shard.build import build_shard


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    options = {"img_size": 8, "patch_size": 2}
    path = tmp_path_factory.mktemp("encoder") / "small.safetensors"
    header = EncoderHeader("test_vit", options, 8, 2, 64, (0.5,) * 3, (0.5,) * 3)
    save_encoder(path, build_model("test_vit", options, "small"), header)
    return path


def test_pixels_stand_at_their_places() -> None:
    train, _ = load_images("digits", "", data_seed=0)
    rows = np.arange(5)
    shard = build_shard(
        train, rows, mask=MaskSpec("random", 0.5), image_size=8, patch_size=2, data_seed=0, split="train"
    )
    features = pixel_features(shard).reshape(5, 16, 12)
    for image in range(5):
        pixels = train.pixels(image)
        hidden = set(range(16)) - set(shard.kept[shard.offsets[image] : shard.offsets[image + 1]].tolist())
        assert len(hidden) == 8
        for patch in range(16):
            row, column = divmod(patch, 4)
            expected = pixels[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].astype(np.float32).ravel() / 127.5 - 1
            np.testing.assert_allclose(features[image, patch], 0 if patch in hidden else expected, atol=1e-6)


def test_limit_draws_other_images_for_another_seed() -> None:
    labels = np.zeros(100, dtype=np.int64)
    first, second = training_rows(labels, 20, 0), training_rows(labels, 20, 1)
    assert len(set(first.tolist())) == len(first) == 20
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(training_rows(labels, 0, 5), np.arange(100))


def test_table_is_narrow() -> None:
    name = "a_rather_long_name_of_an_encoder.safetensors"
    found = [
        Measurement(features, pooling, readout, ratio, seed, 0.5 + 0.01 * seed, 0.1)
        for readout in ("linear", "knn")
        for features, pooling in ((name, "both"), ("pixels", "-"))
        for ratio in (0.0, 0.5, 0.75, 0.9)
        for seed in range(3 if pooling == "both" else 1)
    ]
    lines = probe_table(found).split("\n")
    assert max(map(len, lines)) <= 80
    assert len([line for line in lines if "51.0 ± 1.0" in line]) == 2
    assert len([line for line in lines if line.startswith("pixels") and "50.0" in line and "±" not in line]) == 2


def test_command_prints_a_table_and_writes_a_plot(
    encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "probe"
    arguments = ["probe", "--encoder", str(encoder), "--data", "digits", "--limit", "200", "--seeds", "2"]
    assert main([*arguments, "--ratios", "0,0.5", "--device", "cpu", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    for word in ("linear probe", "ridge", "neighbours", "pixels", "untrained", "small.safetensors", "ρ=0.5"):
        assert word in printed
    with (out / "probe.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    # 3 readouts × 2 ratios × (3 poolings × (2 seeds + untrained) + pixels)
    assert len(rows) == 3 * 2 * (3 * 3 + 1)
    pixels = [float(row["accuracy"]) for row in rows if row["features"] == "pixels" and row["ratio"] == "0.0"]
    assert min(pixels) > 0.8
    assert (out / "probe.png").stat().st_size > 5000


@pytest.mark.parametrize("name", ["probe.csv", "probe.png"])
def test_an_earlier_probe_is_kept(name: str, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text("earlier")
    assert main(["probe", "--encoder", str(encoder), "--data", "digits", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f"{name} of an earlier probe" in error
    assert error.count("\n") == 1
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "earlier")]


@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        ("--ratios", "0,x", "expected numbers"),
        ("--ratios", "0.99", "0.99"),
        ("--ratios", "0,0", "different"),
        ("--readouts", "linar", "did you mean 'linear'"),
        ("--poolings", "max", "is unknown"),
        ("--seeds", "0", "error: --seeds 0: expected at least 1"),
        ("--limit", "-5", "error: --limit -5: expected 0 or more"),
        ("--limit", "3", "cannot hold out 1 of 3 images"),
        ("--data", "digts", "did you mean 'digits'"),
        ("--encoder", "none.safetensors", "no such encoder file"),
        ("--normalization", "haf", "expected 'model', 'half'"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(
    encoder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str, value: str, line: str
) -> None:
    options = {"--encoder": str(encoder), "--data": "digits", "--out": str(tmp_path / "out")} | {option: value}
    assert main(["probe", *[word for pair in options.items() for word in pair]]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert line in error
    assert list(tmp_path.iterdir()) == []
