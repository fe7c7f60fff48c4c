"""What is refused before an image is read, and that nothing is read or downloaded for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from fl_sparse.config import RunConfig
from fl_sparse.data import sources
from fl_sparse.errors import InputError
from fl_sparse.federation import check_data


def unread(request) -> None:
    raise AssertionError(f"{request.dataset} was read")


@pytest.mark.parametrize("dataset", sorted({*sources.SOURCES, "hf:owner/images"} - {"hf:NAME"}))
def test_a_source_is_checked_without_being_read(dataset: str, tmp_path: Path, monkeypatch) -> None:
    unreadable = {name: dataclasses.replace(info, load=unread) for name, info in sources.SOURCES.items()}
    monkeypatch.setattr(sources, "SOURCES", unreadable)
    check_data(RunConfig(dataset=dataset, data_dir=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dataset": "cifar-10"}, "did you mean 'cifar10'"),
        ({"dataset": "aid"}, "needs data-dir"),
        ({"dataset": "parquet", "data_dir": "/no/such/folder"}, "/no/such/folder"),
        ({"dataset": "hf:"}, "expected hf:NAME"),
        ({"id_column": "user"}, "has no columns"),
        ({"partition": "natural"}, "needs id-column"),
        ({"mask": "natural"}, "no image of dataset 'digits' has any"),
        ({"mask": "natural", "dataset": "cifar10"}, "no image of dataset 'cifar10' has any"),
        ({"encoder": "/no/such.safetensors"}, "no such encoder file"),
        ({"encoder_normalization": "0.5"}, "encoder normalization '0.5'"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_what_is_refused(changes: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_data(RunConfig(**changes))


@pytest.mark.parametrize(
    ("name", "mode", "can"),
    [
        ("1.jpg", "RGB", False),
        ("1.png", "RGB", False),
        ("1.png", "RGBA", True),
        ("1.png", "LA", True),
        ("1.mask.png", "L", True),
    ],
)
def test_natural_masks_need_a_mask_file_or_transparency(name: str, mode: str, can: bool, tmp_path: Path) -> None:
    folder = tmp_path / "train" / "cat"
    folder.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(folder / "0.jpg")
    Image.new(mode, (4, 4)).save(folder / name)
    config = RunConfig(dataset="imagefolder", data_dir=str(tmp_path), mask="natural")
    if can:
        check_data(config)
    else:
        with pytest.raises(InputError, match=r"no image of data-dir .* has any"):
            check_data(config)


def test_a_damaged_image_may_have_a_mask_until_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "0.png").write_bytes(b"no picture")
    check_data(RunConfig(dataset="imagefolder", data_dir=str(tmp_path), mask="natural"))
