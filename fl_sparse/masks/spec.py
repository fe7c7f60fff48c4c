"""What a mask is: its rule, masking ratio and schedule.

Polarity, here and everywhere: a keep mask is a boolean array over the N patches of an image, **True where the patch is
kept** (visible, stored, encoded). The masking ratio ρ is the share of patches *removed*.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fl_sparse.errors import InputError, nearest

RULES: Mapping[str, str] = MappingProxyType(
    {
        "random": "patches drawn at random, independently for each image",
        "shared": "one random mask for all images of a client, or of all clients",
        "block": "a compact block of patches is hidden, at a random place",
        "grid": "a regular lattice of patches is kept, at a random phase",
        "cloud": "patches under the highest parts of a smooth random field are hidden",
        "natural": "patches with any invalid pixel are hidden; the ratio is a share of the valid ones",
    }
)
SCHEDULES = ("fixed", "resampled")
SHARERS = ("client", "all")
MAX_RATIO = 0.95


@dataclass(frozen=True)
class MaskSpec:
    """How images are masked.

    Attributes
    ----------
    rule
        One of `RULES`.
    ratio
        Masking ratio ρ, the share of patches removed, 0 to 0.95. Under ``natural``: the share of valid patches removed.
    schedule
        ``fixed``: one mask an image, drawn once. ``resampled``: V masks an image; epoch e uses view e mod V.
    views
        V: 1 under ``fixed``, at least 1 under ``resampled``.
    shared_by
        Who shares a mask under the rule ``shared``: each ``client`` has its own, or ``all`` have the same.
    """

    rule: str
    ratio: float
    schedule: str = "fixed"
    views: int = 1
    shared_by: str = "client"

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratio", float(self.ratio))
        if self.rule not in RULES:
            raise InputError(f"unknown mask rule {self.rule!r}{nearest(self.rule, RULES)}")
        if self.schedule not in SCHEDULES:
            raise InputError(f"unknown mask schedule {self.schedule!r}{nearest(self.schedule, SCHEDULES)}")
        if self.shared_by not in SHARERS:
            raise InputError(f"a mask cannot be shared by {self.shared_by!r}{nearest(self.shared_by, SHARERS)}")
        if not 0 <= self.ratio <= MAX_RATIO:
            raise InputError(f"mask ratio {self.ratio}: expected the share removed, from 0 to {MAX_RATIO}")
        if self.views < 1:
            raise InputError(f"{self.views} mask views: expected at least 1")
        if self.schedule == "fixed" and self.views != 1:
            raise InputError(f"{self.views} mask views under the schedule 'fixed': expected 1, or schedule 'resampled'")


def kept_count(num_patches: int, ratio: float) -> int:
    """Return K = max(1, ⌊N(1−ρ) + 1e-9⌋), the number of patches kept out of N."""
    return max(1, math.floor(num_patches * (1 - ratio) + 1e-9))
