import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fl_sparse.config import FIELDS, RunConfig, defaults, differing_keys, from_mapping, to_mapping
from fl_sparse.config.text import describe_keys, parse_override, read_recipe, toml_scalar, toml_text
from fl_sparse.errors import InputError


def test_defaults_survive_a_round_trip_through_toml() -> None:
    written = toml_text(to_mapping(RunConfig()))
    assert from_mapping(tomllib.loads(written), source="test") == RunConfig()


TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30)
"""Control characters included; lone surrogates are no text that a file can hold."""


@given(TEXTS | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats())
@example('\r\x00\x1b\x7f\\"\n\t')
@example(1e-05)
@example(1e22)
@example(-0.0)
def test_any_scalar_survives_toml(value: str | bool | int | float) -> None:
    back = tomllib.loads(toml_text({"key": value}))["key"]
    assert (type(back), repr(back)) == (type(value), repr(value))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("random", '"random"'),
        ('a"\\ü', r'"a\"\\ü"'),
        ("", '""'),
        (3, "3"),
        (0.5, "0.5"),
        (1e-05, "1e-05"),
        (True, "true"),
    ],
)
def test_ordinary_values_are_written_plainly(value: str | bool | int | float, text: str) -> None:
    assert toml_scalar(value) == text
    assert toml_text({"key": value, "other": value}) == f"key = {text}\nother = {text}\n"


def test_every_key_has_a_meaning_and_stands_in_the_help() -> None:
    for key, entry in FIELDS.items():
        assert entry.metadata["about"]
        assert key in describe_keys()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("mask-ratio=0.75", ("mask-ratio", 0.75)),
        ("seed=3", ("seed", 3)),
        ("standardize=False", ("standardize", False)),
        ("hidden-widths=64,32", ("hidden-widths", "64,32")),
        ("hidden-widths='64,32'", ("hidden-widths", "64,32")),
        ("data-dir=a=b", ("data-dir", "a=b")),
    ],
)
def test_overrides_are_read_by_the_keys_type(override: str, expected: tuple[str, object]) -> None:
    assert parse_override(override) == expected


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("mask-ratoi=0.5", "did you mean 'mask-ratio'?"),
        ("seed", "expected key=value"),
        ("seed=x", "seed = 'x' is no whole number"),
        ("standardize=1", "standardize = '1' is no truth value"),
        ("mask-ratio=much", "is no number"),
    ],
)
def test_wrong_overrides_are_one_line(override: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_override(override)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mask-ratio": 0.96}, "mask-ratio = 0.96 is out of range; expected 0 to 0.95"),
        ({"mask-ratio": -0.1}, "mask-ratio"),
        ({"test-mask-ratio": -0.5}, "test-mask-ratio"),
        ({"num-subnets": 0}, "num-subnets = 0"),
        ({"num-subnets": 9, "hidden-widths": "16,8"}, "num-subnets = 9 is wider than hidden layer 1 of 8 units"),
        ({"hidden-widths": "10,x"}, "hidden-widths = '10,x'"),
        ({"hidden-widths": ""}, "hidden-widths"),
        ({"hidden-widths": "10,0"}, "hidden-widths"),
        ({"mask": "randon"}, "did you mean 'random'?"),
        ({"learning-rate": 0.0}, "learning-rate"),
        ({"learning-rate": float("nan")}, "learning-rate"),
        ({"batch-size": 0}, "batch-size"),
        ({"momentum": 1.0}, "momentum"),
        ({"momentum": 0.9}, "momentum = 0.9: optimizer 'adam' has none; it is for sgd"),
        (
            {"update-format": "int4"},
            "update-format = 'int4' is unknown; did you mean 'int8'? Choices: bfloat16, float32, int8",
        ),
        ({"error-feedback": True}, "error-feedback = true: update-format 'float32' loses nothing"),
        ({"seed": 2**63}, "seed = 9223372036854775808 is out of range; expected less than 2^63"),
        ({"clients-per-round": 5, "num-clients": 4}, "clients-per-round = 5"),
        ({"seed": "0"}, "seed = '0' is no whole number"),
        ({"seed": True}, "seed = true is no whole number"),
        ({"pooling": "cls,mean"}, "Choices: both, cls, mean"),
        ({"fold": 3}, "fold = 3: needs folds"),
        ({"fold": 3, "folds": 3}, "fold = 3 is out of range; expected 0 to 2"),
        ({"seed": -1}, "seed"),
        ({"nonsense": 1}, "unknown key 'nonsense'"),
    ],
)
def test_wrong_values_name_the_key_and_the_range(values: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        from_mapping(values, source="recipe x")
    assert words in str(caught.value)


def test_whole_numbers_are_read_as_numbers() -> None:
    assert from_mapping({"mask-ratio": 0}, source="test").mask_ratio == 0.0


def test_differing_keys_are_named() -> None:
    assert differing_keys(RunConfig(), RunConfig(seed=1, mask="grid")) == ["mask", "seed"]


def test_held_out_ratio_follows_the_training_ratio() -> None:
    assert RunConfig(mask_ratio=0.3).held_out_ratio == 0.3
    assert RunConfig(mask_ratio=0.3, test_mask_ratio=0.0).held_out_ratio == 0.0


def test_views_are_one_under_fixed_masks() -> None:
    assert RunConfig(mask_views=8).views == 1
    assert RunConfig(mask_views=8, mask_schedule="resampled").views == 8


def test_unreadable_recipes_are_named(tmp_path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("seed = = 1")
    with pytest.raises(InputError, match=r"broken\.toml: no valid TOML"):
        read_recipe(broken)
    with pytest.raises(InputError, match=r"gone\.toml: No such file"):
        read_recipe(tmp_path / "gone.toml")


def test_defaults_are_scalars() -> None:
    assert all(isinstance(value, str | int | float | bool) for value in defaults().values())
