"""The first blocks of an encoder are an encoder: the same features as stopping the whole one there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fl_sparse.__main__ import main
from fl_sparse.encoder import load_encoder
from fl_sparse.encoder.header import read_header


def test_features_are_those_of_the_whole_encoder_stopped_early(tmp_path: Path) -> None:
    out = tmp_path / "short.safetensors"
    assert main(["convert", "shipped", "--blocks", "3", "--out", str(out)]) == 0
    whole, short = load_encoder("shipped"), load_encoder(str(out))
    patches = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 5, 48), dtype=np.uint8))
    places = torch.tensor([[0, 7, 9, 30, 63], [1, 2, 3, 4, 5]])
    del whole.model.blocks[3:]
    with torch.no_grad():
        assert torch.equal(short.tokens(patches, places), whole.tokens(patches, places))
    header = read_header(out)
    assert header.options["depth"] == 3
    assert header.schedule.endswith(
        f"the first 3 of {read_header(load_encoder('shipped').spec.path).options['depth']} blocks"
    )
    assert header.epochs == read_header(load_encoder("shipped").spec.path).epochs > 0
    assert out.stat().st_size < 3e6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--blocks", "10"), "--blocks 10: shipped has 10 blocks; expected 1 to 9"),
        (("--blocks", "-1"), "expected 1 to 9"),
        (
            ("--blocks", "3", "--model", "vit_tiny_patch16_224"),
            "--model vit_tiny_patch16_224: an encoder names its own",
        ),
    ],
)
def test_mistakes(arguments: tuple[str, ...], words: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / "short.safetensors"
    assert main(["convert", "shipped", *arguments, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not out.exists()
