"""Published checkpoints become encoders; nothing in them is run."""

import argparse
import os
from pathlib import Path

import pytest
import torch

from fl_sparse.__main__ import main
from fl_sparse.encoder import load_encoder
from fl_sparse.encoder.convert import encoder_tensors
from fl_sparse.encoder.header import read_header
from fl_sparse.encoder.load import build_model
from fl_sparse.errors import InputError

MODEL = ("--model", "test_vit", "--image-size", "32", "--patch-size", "8")


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(1)
    return build_model("test_vit", {"img_size": 32, "patch_size": 8}, "test")


DECODER = {
    "mask_token": torch.zeros(1, 1, 8),
    "decoder_embed.weight": torch.zeros(8, 8),
    "decoder_pos_embed": torch.zeros(1, 17, 8),
    "decoder_blocks.0.norm1.weight": torch.zeros(8),
}


@pytest.mark.parametrize("with_decoder", [False, True])
@pytest.mark.parametrize("with_arguments", [False, True])
def test_official_checkpoint_converts(tmp_path: Path, model, with_decoder: bool, with_arguments: bool) -> None:
    content: dict = {"model": {**model.state_dict(), **(DECODER if with_decoder else {})}}
    if with_arguments:
        content |= {"epoch": 3, "args": argparse.Namespace(lr=1.0)}
    source, out = tmp_path / "mae.pth", tmp_path / "mae.safetensors"
    torch.save(content, source)
    assert main(["convert", str(source), "--out", str(out), *MODEL, "--dtype", "float32", "--data", "made"]) == 0
    header = read_header(out)
    assert (header.image_size, header.patch_size, header.width) == (32, 8, 64)
    assert (header.mean, header.data, header.source) == ((0.485, 0.456, 0.406), "made", "mae.pth")
    loaded = load_encoder(str(out)).model.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded[name], tensor)


class Attack:
    def __reduce__(self):
        return os.system, ("exit 1",)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, model) -> None:
    source = tmp_path / "bad.pth"
    torch.save({"model": model.state_dict(), "more": Attack()}, source)
    with pytest.raises(InputError, match="not a PyTorch file of tensors alone") as caught:
        encoder_tensors(source)
    assert "\n" not in str(caught.value)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["convert", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_refusals_are_one_line_and_write_nothing(tmp_path: Path, model, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "mae.pth", tmp_path / "out.safetensors"
    torch.save({"model": model.state_dict()}, source)
    tensors = dict(model.state_dict())
    del tensors["cls_token"]
    torch.save({"model": tensors | {"fc_norm.weight": torch.zeros(1)}}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "cut.pth").write_bytes(source.read_bytes()[:1000])
    to = ("--out", str(out))
    assert "expected --model" in refused(capsys, str(source), *to)
    assert "no such checkpoint" in refused(capsys, str(tmp_path / "none.pth"), *to, *MODEL)
    assert "tensors alone" in refused(capsys, str(tmp_path / "cut.pth"), *to, *MODEL)
    assert "tensors by name" in refused(capsys, str(tmp_path / "list.pth"), *to, *MODEL)
    line = refused(capsys, str(tmp_path / "other.pth"), *to, *MODEL)
    assert "cls_token missing" in line
    assert "fc_norm.weight unexpected" in line
    assert "of another shape" in refused(capsys, str(source), *to, "--model", "test_vit")
    assert "timm builds no" in refused(capsys, str(source), *to, "--model", "vit_none")
    assert not out.exists()
    out.write_text("mine")
    assert "expected a new .safetensors file" in refused(capsys, str(source), *to, *MODEL)
    assert out.read_text() == "mine"
