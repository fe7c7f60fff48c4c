"""A closed-form start is ridge regression exactly, for any split, and stays beside the subnets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, RecordDict
from safetensors.numpy import load_file

from experiments.__main__ import main
from experiments.closed_form import fit
from fl_sparse.config import from_mapping
from fl_sparse.config.text import parse_override
from fl_sparse.features.statistics import Standardizer
from fl_sparse.learn.closed_form import Gram
from fl_sparse.wire import (
    content_of_gram,
    content_of_gram_question,
    content_of_refusal,
    read_gram,
    read_gram_question,
)

KEYS = ["hidden-widths=12,10", "num-server-rounds=2", "local-steps=2", "num-subnets=2", "init=ridge"]


def run(encoder: str, out: Path, name: str, *more: str) -> Path:
    keys = [part for text in [f"encoder={encoder}", *KEYS, *more] for part in ("-c", text)]
    assert main(["run", *keys, "--out", str(out), "--name", name]) == 0
    return out / name


def test_the_start_is_the_central_solution_for_any_split(tiny_encoder: str, tmp_path: Path) -> None:
    splits = ["partition=iid", "partition=dirichlet", "partition=pathological"]
    folders = [run(tiny_encoder, tmp_path, f"split-{n}", "num-clients=5", split) for n, split in enumerate(splits)]
    skips = [load_file(folder / "model.safetensors") for folder in folders]
    for other in skips[1:]:
        np.testing.assert_allclose(other["skip.weight"], skips[0]["skip.weight"], atol=1e-5)
        np.testing.assert_allclose(other["skip.bias"], skips[0]["skip.bias"], atol=1e-5)


def test_round_0_is_ridge_regression(tiny_encoder: str, tmp_path: Path) -> None:
    folder = run(tiny_encoder, tmp_path, "run", "num-clients=3")
    config = from_mapping(dict(parse_override(text) for text in [f"encoder={tiny_encoder}", *KEYS]), source="test")
    first = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    # The MLP's last layer starts at a tenth, so that a few images near a border may fall to the other side.
    assert first["test_accuracy"] == pytest.approx(fit(config)["ridge"], abs=0.03)


def test_the_linear_term_is_not_trained(tiny_encoder: str, tmp_path: Path) -> None:
    short = load_file(run(tiny_encoder, tmp_path, "short", "num-clients=3") / "model.safetensors")
    more = ["num-clients=3", "num-server-rounds=9", "server-optimizer=adam"]
    long = load_file(run(tiny_encoder, tmp_path, "long", *more) / "model.safetensors")
    for name in ("skip.weight", "skip.bias"):
        np.testing.assert_array_equal(short[name], long[name])
    assert not np.array_equal(short["output.weight"], long["output.weight"])


def test_a_penalty_needs_validation_images_or_a_value(capsys) -> None:
    assert main(["run", "-c", "init=ridge", "-c", "evaluate=clients"]) == 2
    assert "ridge-penalty = 0.0 is chosen on the server's validation images" in capsys.readouterr().err


def test_questions_and_answers_survive_the_wire() -> None:
    standardizer = Standardizer(np.array([1.0], np.float32), np.array([2.0], np.float32))
    read, class_sums = read_gram_question(content_of_gram_question(standardizer))
    assert not class_sums
    assert read is not None
    assert (read.mean, read.inverse_std) == (standardizer.mean, standardizer.inverse_std)
    assert read_gram_question(content_of_gram_question(None, class_sums=True)) == (None, True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (content_of_refusal("no data"), "no data"),
        (RecordDict({"arrays": ArrayRecord()}), "lack 'features'"),
        (RecordDict(), "lack 'features'"),
        (content_of_gram(Gram(np.zeros((2, 2)), np.zeros((3, 4)))), "lack 'features'"),
        (content_of_gram(Gram(np.zeros((3, 3), np.float32), np.zeros((3, 4)))), "lack 'features'"),
        (content_of_gram(Gram(np.zeros((3, 3)), np.full((3, 4), np.nan))), "'labels' is not finite"),
    ],
)
def test_wrong_sums_are_refused(content: RecordDict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_gram(content, num_features=2, num_classes=4)
