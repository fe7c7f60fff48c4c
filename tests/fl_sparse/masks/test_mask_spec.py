"""What a mask may be, and how many patches it keeps."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_sparse.errors import InputError
from fl_sparse.masks.spec import MaskSpec, kept_count


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "rnadom", "ratio": 0.5}, "'rnadom'; did you mean 'random'"),
        ({"rule": "random", "ratio": 0.96}, r"0\.96.*0 to 0\.95"),
        ({"rule": "random", "ratio": -0.1}, r"-0\.1"),
        ({"rule": "random", "ratio": float("nan")}, "nan"),
        ({"rule": "random", "ratio": 0.5, "schedule": "fixd"}, "'fixd'; did you mean 'fixed'"),
        ({"rule": "random", "ratio": 0.5, "schedule": "resampled", "views": 0}, "0 mask views"),
        ({"rule": "random", "ratio": 0.5, "views": 3}, "3 mask views.*'fixed'"),
        ({"rule": "shared", "ratio": 0.5, "shared_by": "cleint"}, "'cleint'; did you mean 'client'"),
    ],
)
def test_nonsense_is_refused_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        MaskSpec(**settings)
    assert "\n" not in str(caught.value)


def test_an_integer_ratio_is_the_same_spec() -> None:
    assert repr(MaskSpec("random", 0)) == repr(MaskSpec("random", 0.0))


@given(st.integers(1, 1000), st.integers(0, 95))
def test_kept_count_is_the_floor_of_the_exact_share(patches: int, percent: int) -> None:
    exact = patches * (1 - Fraction(percent, 100))
    assert kept_count(patches, percent / 100) == max(1, exact.numerator // exact.denominator)


def test_kept_counts_of_the_masked_autoencoder() -> None:
    assert [kept_count(196, ratio) for ratio in (0, 0.5, 0.75, 0.8, 0.9)] == [196, 98, 49, 39, 19]
