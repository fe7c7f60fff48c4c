"""Profiles of devices: what the configuration may say, and seconds by hand."""

import pytest

from fl_sparse.config import RunConfig
from fl_sparse.config.device_profiles import PROFILES, parse_profiles
from fl_sparse.errors import InputError


def test_profiles_are_in_the_order_that_their_names_promise() -> None:
    rates = [PROFILES[name].rate for name in ("raspberry-pi-4", "phone", "jetson-nano", "server")]
    assert rates == sorted(rates)
    for profile in PROFILES.values():
        assert 0 < profile.share <= 1
        assert profile.upload <= profile.download


def test_seconds_by_hand() -> None:
    # 85.73 and 45.74 Mbit/s, and 8 GFLOP/s.
    taken = PROFILES["raspberry-pi-4"].seconds(bytes_down=85_730_000, flops=4e9, bytes_up=45_740_000)
    assert taken == pytest.approx(8 + 0.5 + 8)


def test_names_are_given_in_turn_and_in_proportions() -> None:
    assert parse_profiles("") == parse_profiles("  ") == ()
    names = [profile.name for profile in parse_profiles("phone * 2, server,phone")]
    assert names == ["phone", "phone", "server", "phone"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"device_profiles": "fone"}, r"device-profiles = 'fone': 'fone' is unknown; did you mean 'phone'\?"),
        ({"device_profiles": "phone,"}, "'' is unknown; expected one of: jetson-nano, phone, raspberry-pi-4, server"),
        ({"device_profiles": "phone*0"}, "'0' is no count; expected 1 to 1,000,000"),
        ({"device_profiles": "phone*"}, "'' is no count"),
        ({"device_profiles": "phone*9999999999"}, "'9999999999' is no count"),
        ({"round_deadline": 5.0}, "round-deadline = 5 counts simulated seconds, and device-profiles is empty"),
        ({"device_profiles": "phone", "round_deadline": -1.0}, "round-deadline = -1.0 is out of range; expected 0 or"),
        ({"device_profiles": "phone", "round_deadline": float("nan")}, "round-deadline = nan is out of range"),
        ({"device_profiles": "phone", "round_deadline": float("inf")}, "round-deadline = inf is out of range"),
    ],
)
def test_mistakes_are_named(keys: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        RunConfig(**keys)
