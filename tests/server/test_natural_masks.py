"""Images that a natural mask hides whole: neither trained on nor counted, and the counts of the others stay."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.__main__ import main
from fl_sparse.data.class_folders import FolderImages


@pytest.fixture
def clouded(tmp_path: Path) -> Path:
    """Two classes of images of which each has a mask beside it; one hides all of its image."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for kind in ("cat", "dog"):
            folder = tmp_path / "images" / split / kind
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / f"{number}.png")
                hidden = split == "train" and kind == "dog" and number in (2, 3)
                shown = np.zeros((32, 32), np.uint8) if hidden else np.full((32, 32), 255, np.uint8)
                Image.fromarray(shown).save(folder / f"{number}.mask.png")
    return tmp_path / "images"


def run(clouded: Path, encoder: str, out: Path, **more: str) -> Path:
    keys = {"encoder": encoder, "dataset": "imagefolder", "data-dir": clouded, "mask": "natural", "num-clients": 2}
    keys |= {"hidden-widths": "8", "num-subnets": 2, "num-server-rounds": 1, "local-steps": 1} | more
    overrides = [part for key, value in keys.items() for part in ("-c", f"{key}={value}")]
    assert main(["run", *overrides, "--out", str(out), "--name", "run"]) == 0
    return out / "run"


def test_counts_are_of_the_images_that_show_something(clouded: Path, tiny_encoder: str, tmp_path: Path) -> None:
    folder = run(clouded, tiny_encoder, tmp_path)
    table = json.loads((folder / "clients.json").read_text())
    counts = np.array(table["labels"])
    np.testing.assert_array_equal(counts.sum(axis=1), table["examples"])
    # Validation takes two of the 24, none of them hidden here.
    assert counts.sum() == 24 - 2 - 2
    assert (folder / "split.png").exists()
    summary = json.loads((folder / "summary.json").read_text())
    assert 0 < summary["client_accuracy_min"] <= summary["client_accuracy_median"]


def test_masks_that_hide_nothing_are_said(clouded: Path, tiny_encoder: str, tmp_path: Path, capsys) -> None:
    run(clouded, tiny_encoder, tmp_path / "hiding")
    assert "warning" not in capsys.readouterr().out
    for file in clouded.rglob("*.mask.png"):
        Image.new("L", (32, 32), 255).save(file)
    run(clouded, tiny_encoder, tmp_path / "all-valid", seed="1")
    said = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert said == ["warning: mask 'natural': no image of images train seems to have invalid pixels"]


@pytest.mark.parametrize("evaluate", ["server", "none"])
def test_images_are_let_go_of(clouded: Path, tiny_encoder: str, tmp_path: Path, evaluate: str) -> None:
    made = []
    begin = FolderImages.__init__

    def noted(self: FolderImages, *args: object, **kwargs: object) -> None:
        begin(self, *args, **kwargs)
        made.append(weakref.ref(self))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FolderImages, "__init__", noted)
        run(clouded, tiny_encoder, tmp_path, evaluate=evaluate)
    gc.collect()
    assert made
    assert not [reference for reference in made if reference() is not None]
