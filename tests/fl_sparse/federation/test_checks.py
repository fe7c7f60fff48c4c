"""What is refused before an image is read, and that nothing is read or downloaded for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

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
        ({"encoder": "/no/such.safetensors"}, "no such encoder file"),
        ({"encoder_normalization": "0.5"}, "encoder normalization '0.5'"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_what_is_refused(changes: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_data(RunConfig(**changes))
