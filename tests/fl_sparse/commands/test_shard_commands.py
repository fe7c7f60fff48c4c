"""The commands shard, inspect and info, as a user calls them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fl_sparse.__main__ import main
from fl_sparse.data.sources import SOURCES
from fl_sparse.masks.spec import RULES, kept_count
from fl_sparse.shard.file import load_shard


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for label, count in (("cat", 3), ("dog", 2)):
        folder = tmp_path / "photos" / label
        folder.mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (20 + number, 30, 4), dtype=np.uint8)
            pixels[:, :, 3] = 255
            pixels[:12, :, 3] = 0
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "photos"


def _shard(photos: Path, *options: str) -> list[str]:
    return ["shard", str(photos), "--out", str(photos.parent / "x.shard"), *options]


def test_a_folder_becomes_a_shard_for_the_shipped_encoder(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_shard(photos)) == 0
    shard = load_shard(photos.parent / "x.shard")
    assert (shard.header.image_size, shard.header.patch_size) == (32, 4)
    assert shard.header.classes == ("cat", "dog")
    assert shard.labels.tolist() == [0, 0, 0, 1, 1]
    assert (shard.lengths == kept_count(64, 0.5)).all()
    output = capsys.readouterr()
    assert shard.header.digest in output.out
    assert not output.err


def test_every_option_reaches_the_shard(photos: Path) -> None:
    sizes = ["--image-size", "24", "--patch-size", "6"]
    mask = ["--mask", "shared", "--mask-ratio", "0.75", "--mask-schedule", "resampled", "--mask-views", "3"]
    rest = ["--client", "2", "--data-seed", "9", "--split", "test", "--classes", "dog, cat"]
    assert main(_shard(photos, *sizes, *mask, *rest)) == 0
    first = load_shard(photos.parent / "x.shard")
    assert first.header.classes == ("dog", "cat")
    assert first.labels.tolist() == [1, 1, 1, 0, 0]
    assert (first.header.image_size, first.header.patch_size, first.num_views) == (24, 6, 3)
    assert (first.header.mask.rule, first.header.mask.ratio, first.header.data_seed) == ("shared", 0.75, 9)
    assert first.header.split == "test"
    assert len({first.view(0, image)[1].tobytes() for image in range(5)}) == 1
    names = photos.parent / "names.txt"
    names.write_text("dog\ncat\n")
    rest = ["--client", "3", "--data-seed", "9", "--classes", str(names), "--force"]
    assert main(_shard(photos, *sizes, *mask, *rest)) == 0
    second = load_shard(photos.parent / "x.shard")
    assert second.view(0, 0)[1].tobytes() != first.view(0, 0)[1].tobytes()
    assert second.header.classes == ("dog", "cat")


def test_natural_follows_transparency_and_says_when_there_is_none(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_shard(photos, "--mask", "natural")) == 0
    shard = load_shard(photos.parent / "x.shard")
    assert shard.header.mask.ratio == 0
    assert 0 < shard.header.exposed < 0.5
    assert not capsys.readouterr().err
    for file in photos.rglob("*.png"):
        Image.open(file).convert("RGB").save(file)
    assert main(_shard(photos, "--mask", "natural", "--force")) == 0
    assert "every pixel is stored" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mask", "rnadom"], "'rnadom'; did you mean 'random'"),
        (["--mask-ratio", "0.99"], "0.99"),
        (["--mask-schedule", "resample"], "did you mean 'resampled'"),
        (["--mask-views", "4"], "4 mask views under the schedule 'fixed'"),
        (["--image-size", "32"], "--image-size 32 without --patch-size"),
        (["--patch-size", "5"], "--patch-size 5 without --image-size"),
        (["--image-size", "32", "--patch-size", "5"], "32 is not a multiple of the patch size 5"),
        (["--image-size", "32", "--patch-size", "4", "--encoder", "shipped"], "either --encoder"),
        (["--encoder", "none.safetensors"], "none.safetensors"),
        (["--classes", "cat"], "dog"),
        (["--classes", "cat,cat,dog"], "each once"),
        (["--data-seed", "-1"], "--data-seed -1"),
        (["--labels", "none.csv"], "none.csv"),
    ],
)
def test_wrong_options_end_in_one_line_and_no_file(
    photos: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(_shard(photos, *options)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (photos.parent / "x.shard").exists()


def test_an_unreadable_image_is_named_and_nothing_is_written(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "dog" / "1.png").write_bytes(b"not a picture")
    assert main(_shard(photos)) == 2
    assert str(photos / "dog" / "1.png") in capsys.readouterr().err
    assert [path.name for path in photos.parent.iterdir()] == ["photos"]


def test_an_existing_file_is_kept_unless_forced(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = photos.parent / "x.shard"
    target.write_text("precious")
    assert main(_shard(photos)) == 2
    assert "exists already" in capsys.readouterr().err
    assert target.read_text() == "precious"
    assert main(["shard", str(photos), "--out", str(photos)]) == 2
    assert main(["shard", str(photos), "--out", str(photos / "none" / "x.shard")]) == 2
    assert main(_shard(photos, "--force")) == 0
    assert load_shard(target).num_images == 5


def test_inspect_prints_and_draws(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_shard(photos)) == 0
    shard, picture = photos.parent / "x.shard", photos.parent / "sheet.png"
    capsys.readouterr()
    assert main(["inspect", str(shard)]) == 0
    assert "cat (3), dog (2)" in capsys.readouterr().out
    assert (photos.parent / "x.shard.png").is_file()
    assert main(["inspect", str(shard)]) == 2
    assert "x.shard.png: exists already" in capsys.readouterr().err
    assert main(["inspect", str(shard), "--force"]) == 0
    assert main(["inspect", str(shard), "--out", str(picture)]) == 0
    with Image.open(picture) as sheet:
        assert sheet.format == "PNG"
    assert main(["inspect", str(shard), "--out", str(picture)]) == 2
    assert "exists already" in capsys.readouterr().err
    before = shard.read_bytes()
    assert main(["inspect", str(shard), "--out", str(shard), "--force"]) == 2
    assert "expected a file with suffix .png" in capsys.readouterr().err
    alike = shard.rename(shard.with_suffix(".png"))
    assert main(["inspect", str(alike), "--out", str(alike), "--force"]) == 2
    assert "would replace the shard" in capsys.readouterr().err
    alike.rename(shard)
    assert shard.read_bytes() == before
    shard.write_bytes(before[:-9])
    assert main(["inspect", str(shard), "--force"]) == 2
    assert "cut short" in capsys.readouterr().err


def test_inspect_says_that_an_encoder_is_no_shard(tiny_encoder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", tiny_encoder]) == 2
    assert "not a shard (" in capsys.readouterr().err


def test_info_lists_everything_within_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) < 80
    first_words = {line.split()[0] for line in lines if line.strip()}
    assert {*SOURCES, *RULES, "shipped"} <= first_words
    assert any("torch 2" in line for line in lines)


@pytest.mark.parametrize("command", ["shard", "inspect", "info", "pretrain", "probe", "convert"])
def test_help_fits_a_terminal(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
