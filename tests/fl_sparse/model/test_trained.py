"""The description of a trained model: written, read again, and enough to use the model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.__main__ import main
from fl_sparse.encoder.spec import encoder_spec
from fl_sparse.errors import InputError
from fl_sparse.features.statistics import Standardizer
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.model.trained import EncoderUse, TrainedModel, read_model, write_model
from fl_sparse.tensor_file import read_tensors, write_tensors

CLASSES = ("a b", "ü", "c")
ENCODER = EncoderUse("shipped", "both", "ab" * 32, 32, 4, 192, (0.1, 0.2, 1 / 3), (0.5, 0.25, 0.1), 2, "bfloat16")


def made(
    widths: tuple[int, ...] = (5, 4), *, skip: bool = False, masked: bool = True, norm: str = "none"
) -> TrainedModel:
    spec = MLPSpec(6, widths, 3, "gelu", norm, skip)
    rng = np.random.default_rng(0)
    parameters = init_parameters(spec, 1)
    if skip:
        parameters |= {"skip.weight": np.ones((3, 6), np.float32), "skip.bias": np.zeros(3, np.float32)}
    standardizer = Standardizer(*(rng.normal(size=6).astype(np.float32) for _ in range(2)))
    masks = {"output.weight": rng.random(parameters["output.weight"].shape) < 0.5} if masked else {}
    return TrainedModel(ENCODER, spec, parameters, CLASSES, 7, standardizer, masks)


def assert_same(one: TrainedModel, other: TrainedModel) -> None:
    plain = {"parameters": {}, "standardizer": None, "masks": {}}
    assert replace(one, **plain) == replace(other, **plain)
    for mine, theirs in ((one.parameters, other.parameters), (one.masks, other.masks)):
        assert mine.keys() == theirs.keys()
        for name, values in mine.items():
            assert values.dtype == theirs[name].dtype
            np.testing.assert_array_equal(values, theirs[name])
    assert (one.standardizer is None) == (other.standardizer is None)
    if one.standardizer is not None and other.standardizer is not None:
        np.testing.assert_array_equal(one.standardizer.mean, other.standardizer.mean)
        np.testing.assert_array_equal(one.standardizer.inverse_std, other.standardizer.inverse_std)


@settings(max_examples=30, deadline=None)
@given(
    widths=st.lists(st.integers(1, 6), max_size=3).map(tuple),
    skip=st.booleans(),
    masked=st.booleans(),
    norm=st.sampled_from(["none", "layer"]),
    plain=st.booleans(),
)
def test_what_is_written_is_read(tmp_path_factory, widths, skip, masked, norm, plain) -> None:
    model = made(widths, skip=skip, masked=masked, norm=norm if widths else "none")
    if plain:
        model = replace(model, standardizer=None)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    write_model(path, model)
    assert_same(read_model(path), model)
    first = path.read_bytes()
    write_model(path, read_model(path))
    assert path.read_bytes() == first


def test_a_file_of_version_1_is_read(tmp_path: Path) -> None:
    model = made(masked=False)
    assert model.standardizer is not None
    tensors = dict(model.parameters)
    tensors |= {
        "standardizer.mean": model.standardizer.mean,
        "standardizer.inverse_std": model.standardizer.inverse_std,
    }
    metadata = {
        "classes": "\n".join(CLASSES),
        "activation": "gelu",
        "normalization": "none",
        "encoder": "shipped",
        "pooling": "both",
        "round": "7",
    }
    write_tensors(tmp_path / "old", tensors, metadata)
    assert_same(read_model(tmp_path / "old"), replace(model, encoder=EncoderUse("shipped", "both")))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "3"}, "a model of version 3; this fl-sparse reads up to 2"),
        ({"format": "something else"}, "no model of fl-sparse"),
        ({"version": "two"}, "no model of fl-sparse"),
        ({"encoder-use": "{"}, "a damaged one"),
        ({"encoder-use": "[]"}, "a damaged one"),
        ({"activation": "tanh"}, "unknown activation 'tanh'"),
    ],
)
def test_what_is_no_model_is_refused_in_a_line_that_names_the_file(tmp_path: Path, changes: dict, said: str) -> None:
    path = tmp_path / "model.safetensors"
    write_model(path, made())
    tensors, metadata = read_tensors(path)
    write_tensors(path, tensors, metadata | changes)
    with pytest.raises(InputError, match=said) as refused:
        read_model(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_later_key_of_the_encoder_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_model(path, made())
    tensors, metadata = read_tensors(path)
    more = json.loads(metadata["encoder-use"]) | {"resolution": 3}
    write_tensors(path, tensors, metadata | {"encoder-use": json.dumps(more)})
    assert_same(read_model(path), made())


def test_a_runs_model_file_says_what_its_folder_does(tiny_encoder: str, tmp_path: Path) -> None:
    keys = [f"encoder={tiny_encoder}", "hidden-widths=12", "num-server-rounds=1", "local-steps=2", "train-images=200"]
    more = ["encoder-normalization=half", "init=ridge", "ridge-penalty=10"]
    extra = [part for key in keys + more for part in ("-c", key)]
    assert main(["run", *extra, "--out", str(tmp_path), "--name", "x"]) == 0
    model = read_model(tmp_path / "x" / "model.safetensors")
    spec = encoder_spec(tiny_encoder)
    assert model.network == MLPSpec(2 * spec.width, (12,), 10, skip=True)
    assert model.encoder == EncoderUse(
        tiny_encoder, "both", spec.digest, spec.image_size, spec.patch_size, spec.width, (0.5,) * 3, (0.5,) * 3
    )
    assert model.round == 1
    assert model.classes == tuple("0123456789")
