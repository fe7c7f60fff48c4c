"""Encoders by name: headers, hashes, refusals, normalisation."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from fl_sparse.encoder import encoder_spec, load_encoder, shipped
from fl_sparse.encoder.export import save_encoder
from fl_sparse.encoder.header import EncoderHeader, read_header, to_metadata
from fl_sparse.encoder.load import build_model, parse_normalization, untrained_encoder
from fl_sparse.encoder.ship import LARGEST, ship
from fl_sparse.encoder.spec import SHIPPED_FILE
from fl_sparse.errors import InputError

ARCHITECTURE = "vit_tiny_patch16_224"
OPTIONS = {"img_size": 16, "patch_size": 8, "depth": 1, "embed_dim": 12}
HEADER = EncoderHeader(
    architecture=ARCHITECTURE,
    options=OPTIONS,
    image_size=16,
    patch_size=8,
    width=12,
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
    data="made images",
    recipe={"epochs": 3},
    epochs=3,
    commit="abc",
)


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model(ARCHITECTURE, OPTIONS, "test")


@pytest.fixture
def file(tmp_path: Path, model: torch.nn.Module) -> Path:
    path = tmp_path / "encoder.safetensors"
    save_encoder(path, model, HEADER)
    return path


def one_line(name: str) -> str:
    with pytest.raises(InputError) as caught:
        load_encoder(name)
    line = str(caught.value)
    assert "\n" not in line
    assert name in line
    return line


def test_header_returns_whole(file: Path) -> None:
    assert read_header(file) == HEADER
    spec = encoder_spec(str(file))
    assert spec.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (spec.image_size, spec.patch_size, spec.width) == (16, 8, 12)
    assert (spec.architecture, spec.mean, spec.std) == (ARCHITECTURE, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_file_is_half_precision_and_loads_as_single(file: Path, model: torch.nn.Module) -> None:
    assert {tensor.dtype for tensor in load_file(file).values()} == {torch.float16}
    loaded = load_encoder(str(file)).model
    assert not any(weight.requires_grad for weight in loaded.parameters())
    assert not loaded.training
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, model.state_dict()[name], atol=2e-3, rtol=1e-3)


def test_weights_beyond_half_precision_are_not_written(tmp_path: Path, model: torch.nn.Module) -> None:
    with torch.no_grad():
        next(model.parameters()).fill_(1e6)
    with pytest.raises(InputError, match="not finite"):
        save_encoder(tmp_path / "x.safetensors", model, HEADER)
    assert not (tmp_path / "x.safetensors").exists()


def test_spec_of_a_file_needs_no_torch(file: Path) -> None:
    code = (
        "import sys; from fl_sparse.encoder import encoder_spec; "
        f"print(encoder_spec({str(file)!r}).width, encoder_spec('shipped').width); "
        "print(sorted({'torch', 'timm', 'torchvision'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["12 192", "[]"]


def test_pixels_are_scaled_as_the_header_says(file: Path) -> None:
    encoder = load_encoder(str(file))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 8 * 8 * 3), dtype=np.uint8)
    expected = (pixels.reshape(2, 3, 64, 3) / 255 - np.array(HEADER.mean)) / np.array(HEADER.std)
    np.testing.assert_allclose(encoder.normalize(pixels).reshape(2, 3, 64, 3), expected, atol=1e-5)


def test_tokens_are_single_precision_of_prefix_and_patches(file: Path) -> None:
    encoder = load_encoder(str(file))
    patches = np.zeros((2, 3, 192), dtype=np.uint8)
    tokens = encoder.tokens(patches, np.array([[0, 1, 3], [0, 2, 3]], dtype=np.uint8))
    assert tokens.shape == (2, 4, 12)
    assert tokens.dtype == torch.float32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model", ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))),
        ("half", ((0.5,) * 3, (0.5,) * 3)),
        ("0.2,0.4", ((0.2,) * 3, (0.4,) * 3)),
        ("0.1,0.2,0.3,1,2,3", ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))),
    ],
)
def test_normalization(file: Path, text: str, expected) -> None:
    assert parse_normalization(text, encoder_spec(str(file))) == expected


@pytest.mark.parametrize("text", ["hlaf", "0.5", "0.5,0", "0.5,-1", "1,2,3", "0.5,nan", "inf,1"])
def test_normalization_refused(file: Path, text: str) -> None:
    with pytest.raises(InputError, match="expected 'model', 'half'"):
        parse_normalization(text, encoder_spec(str(file)))


def test_missing_file(tmp_path: Path) -> None:
    assert "no such encoder file" in one_line(str(tmp_path / "none.safetensors"))


@pytest.mark.parametrize("size", [0, 5, 400, -1])
def test_truncated_file(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])
    assert "not a whole safetensors file" in one_line(str(file))


def test_other_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    assert "not an encoder" in one_line(str(path))


def test_header_without_a_field(tmp_path: Path) -> None:
    path = tmp_path / "short.safetensors"
    metadata = to_metadata(HEADER)
    del metadata["mean"]
    save_file({"a": torch.zeros(1)}, path, metadata=metadata)
    assert "lacks mean" in one_line(str(path))


def test_wrong_tensors_are_named(tmp_path: Path, model: torch.nn.Module) -> None:
    path = tmp_path / "wrong.safetensors"
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors["extra"] = torch.zeros(2)
    tensors["norm.weight"] = torch.zeros(5)
    del tensors["cls_token"]
    save_file(tensors, path, metadata=to_metadata(HEADER))
    line = one_line(str(path))
    assert "cls_token missing" in line
    assert "extra unexpected" in line
    assert "norm.weight (5,) instead of (12,) of another shape" in line


def test_unknown_architecture_in_a_header(tmp_path: Path) -> None:
    path = tmp_path / "strange.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={**to_metadata(HEADER), "architecture": json.dumps("vit_none")})
    assert "timm builds no 'vit_none'" in one_line(str(path))


def test_unknown_names() -> None:
    assert "did you mean 'shipped'" in one_line("shiped")
    assert "did you mean 'vit_base_patch16_224.mae'" in one_line("vit_base_patch16_224.mea")
    assert "is unknown" in one_line("qqqq")
    assert "convert it with" in one_line("mae_pretrain_vit_base.pth")


def test_hub_spec_needs_no_download() -> None:
    spec = encoder_spec("vit_base_patch16_224.mae")
    assert (spec.image_size, spec.patch_size, spec.width) == (224, 16, 768)
    assert spec.mean == (0.485, 0.456, 0.406)
    assert spec.digest != encoder_spec("vit_large_patch16_224.mae").digest


def test_hub_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder_spec("vit_base_patch16_224.mae")

    def refuse(*args, **kwargs):
        raise OSError("no route\nmore")

    monkeypatch.setattr(timm, "create_model", refuse)
    assert "cannot be reached" in one_line("vit_base_patch16_224.mae")


def test_untrained_depends_on_the_seed_alone(file: Path) -> None:
    spec = encoder_spec(str(file))
    first, again, other = (untrained_encoder(spec, seed=seed).model.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["patch_embed.proj.weight"], other["patch_embed.proj.weight"])


def test_shipped_file_is_the_pinned_one() -> None:
    path = Path(shipped.__path__[0]) / SHIPPED_FILE
    assert path.stat().st_size <= LARGEST
    assert hashlib.sha256(path.read_bytes()).hexdigest() == shipped.SHA256
    encoder = load_encoder("shipped")
    assert encoder.spec.digest == shipped.SHA256
    assert (encoder.spec.image_size, encoder.spec.patch_size) == (32, 4)
    header = read_header(path)
    assert header.data
    assert header.commit
    assert header.recipe
    assert header.epochs > 0


def test_model_card_is_of_the_shipped_file() -> None:
    card = (Path(__file__).resolve().parents[3] / "docs" / "model-card.md").read_text(encoding="utf-8")
    header = read_header(Path(shipped.__path__[0]) / SHIPPED_FILE)
    assert shipped.SHA256 in card
    assert f"--epochs {header.epochs} " in card


def test_other_shipped_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "SHA256", "0" * 64)
    assert "damaged or replaced" in one_line("shipped")


def test_ship_copies_and_pins(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "package"
    folder.mkdir()
    digest = ship(file, folder)
    assert (folder / SHIPPED_FILE).read_bytes() == file.read_bytes()
    names: dict[str, str] = {}
    exec((folder / "__init__.py").read_text(), names)
    assert names["SHA256"] == digest == hashlib.sha256(file.read_bytes()).hexdigest()


def test_ship_refuses_what_is_too_large(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fl_sparse.encoder.ship.LARGEST", 10)
    with pytest.raises(InputError, match="expected at most 10"):
        ship(file, tmp_path)
