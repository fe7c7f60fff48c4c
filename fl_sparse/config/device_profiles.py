"""Kinds of devices for the virtual clock: how fast they compute and how fast their line is.

Published numbers are cited; the share of them that training a small MLP reaches is chosen, not measured, and so is
which line stands for which device. Simulated seconds follow from these choices: report them as such.

Compute:

- ``phone``: 84.4 GFLOP/s float32, measured on the four big cores of a Snapdragon 845 with vfpbench, in-cache arithmetic
  (wlog.flatlib.jp, category 25). Chosen share: 1/4.
- ``raspberry-pi-4``: 8 GFLOP/s, High Performance Linpack in float64, measured (Feiereisen, "Benchmarking the Raspberry
  Pi 4 with Raspberry Pi OS64", 2 March 2022, feiereisen.net). Chosen share: 1; float32 is up to twice as fast, small
  batches are slower than Linpack's large matrices.
- ``jetson-nano``: 472 GFLOP/s, NVIDIA's peak for float16; its GPU does float32, which training here uses, at half
  of that. Chosen share: 1/4 of the half.
- ``server``: 8.1 TFLOP/s, NVIDIA's float32 peak of one T4 GPU. Chosen share: 1/4.

Lines: world averages of Ookla's Speedtest Global Index for September 2020. ``phone``: mobile, 35.96 Mbit/s down, 11.22
up. ``raspberry-pi-4`` and ``jetson-nano``: fixed broadband, 85.73 down, 45.74 up. ``server``: 1 Gbit/s both ways, the
rate of Gigabit Ethernet, chosen. Latency is not modelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fl_sparse.errors import InputError, nearest

MEGABIT = 1e6 / 8
MAX_REPEATS = 1_000_000


@dataclass(frozen=True)
class DeviceProfile:
    """A kind of device.

    Parameters
    ----------
    name
        What the configuration calls it.
    published
        FLOP/s that its source gives.
    share
        What part of these training a small MLP is taken to reach.
    download, upload
        Bytes/s of its line.
    """

    name: str
    published: float
    share: float
    download: float
    upload: float

    @property
    def rate(self) -> float:
        """FLOP/s of training."""
        return self.published * self.share

    def seconds(self, *, bytes_down: int, flops: float, bytes_up: int) -> float:
        """Return how long it takes to fetch, compute and send, one after the other."""
        return bytes_down / self.download + flops / self.rate + bytes_up / self.upload


PROFILES: Mapping[str, DeviceProfile] = {
    profile.name: profile
    for profile in (
        DeviceProfile("phone", 84.4e9, 1 / 4, 35.96 * MEGABIT, 11.22 * MEGABIT),
        DeviceProfile("raspberry-pi-4", 8e9, 1.0, 85.73 * MEGABIT, 45.74 * MEGABIT),
        DeviceProfile("jetson-nano", 472e9, 1 / 8, 85.73 * MEGABIT, 45.74 * MEGABIT),
        DeviceProfile("server", 8.1e12, 1 / 4, 1000 * MEGABIT, 1000 * MEGABIT),
    )
}


def parse_profiles(text: str) -> tuple[DeviceProfile, ...]:
    """Parse names, each repeated if a count follows, as in ``phone*3,server``; an empty text gives none.

    Raises
    ------
    InputError
        For an unknown name, with the nearest one, or a count that is no whole number from 1 to a million.
    """
    if not text.strip():
        return ()
    profiles: list[DeviceProfile] = []
    for part in text.split(","):
        name, times, count = (piece.strip() for piece in part.partition("*"))
        if name not in PROFILES:
            raise InputError(f"device-profiles = {text!r}: {name!r} is unknown{nearest(name, PROFILES)}")
        repeats = (int(count) if count.isdecimal() else 0) if times else 1
        if not 1 <= repeats <= MAX_REPEATS:
            raise InputError(f"device-profiles = {text!r}: {count!r} is no count; expected 1 to {MAX_REPEATS:,}")
        profiles += [PROFILES[name]] * repeats
    return tuple(profiles)
