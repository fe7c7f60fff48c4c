"""Safetensors files: the library's and ours are one format, and a refusal names the file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from fl_sparse.errors import InputError
from fl_sparse.tensor_file import map_tensors, read_metadata, read_tensors, write_tensors

TENSORS = {
    "b": np.arange(3, dtype=np.uint8),
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "c": np.array(7, dtype=np.int64),
    "none": np.zeros((0, 4), dtype=np.uint16),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_tensors(tmp_path / "file", TENSORS, {"key": "value"})
    return tmp_path / "file"


def test_the_bytes_are_those_of_the_library(file: Path) -> None:
    assert file.read_bytes() == safetensors.numpy.save(TENSORS, {"key": "value"})


def test_tensors_and_metadata_come_back(file: Path) -> None:
    for tensors, metadata in (read_tensors(file), map_tensors(file, "key", kind="thing")):
        assert metadata == read_metadata(file) == {"key": "value"}
        assert tensors.keys() == TENSORS.keys()
        for name, expected in TENSORS.items():
            assert (tensors[name].dtype, tensors[name].shape) == (expected.dtype, expected.shape)
            np.testing.assert_array_equal(tensors[name], expected)


def test_types_of_torch_alone_come_back(tmp_path: Path) -> None:
    weight = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    safetensors.torch.save_file({"weight": weight}, tmp_path / "file")
    tensors, metadata = read_tensors(tmp_path / "file", framework="pt")
    assert torch.equal(tensors["weight"], weight)
    assert tensors["weight"].dtype == torch.bfloat16
    assert metadata == {}


@pytest.mark.parametrize("content", [None, b"", b"x" * 50, "cut"])
@pytest.mark.parametrize("read", [read_tensors, read_metadata])
def test_what_is_no_whole_file_is_refused_in_one_line(read, content: bytes | str | None, file: Path) -> None:
    whole = file.read_bytes()
    if content is None:
        file.unlink()
    else:
        file.write_bytes(whole[:-1] if isinstance(content, str) else content)
    with pytest.raises(InputError) as caught:
        read(file, kind="box of letters")
    assert str(caught.value).startswith(f"{file}: not a whole box of letters (")
    assert "\n" not in str(caught.value)


def test_mapping_needs_numpy_alone(file: Path) -> None:
    code = (
        "import sys, pathlib; from fl_sparse.tensor_file import map_tensors\n"
        "map_tensors(pathlib.Path(sys.argv[1]), 'key', kind='thing')\n"
        "assert not {'torch', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, file], check=True)
