"""The federation's standardizer in a message: 2F numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fl_sparse.features.statistics import Standardizer


@dataclass(frozen=True)
class Standardizing:
    """Whether features are standardised, and the standardizer if the message carries it.

    A node's first train message carries the standardizer, which the node stores; every evaluation carries it too.
    """

    expected: bool
    sent: Standardizer | None = None


def standardizer_values(standardizer: Standardizer) -> dict[str, bytes]:
    """Return a standardizer as values of a ``ConfigRecord``."""
    return {
        "standardizer-mean": _float32_bytes(standardizer.mean),
        "standardizer-inverse-std": _float32_bytes(standardizer.inverse_std),
    }


def standardizer_of(config: Mapping[str, Any]) -> Standardizer | None:
    """Return the standardizer in the values of a ``ConfigRecord``, None if there is none."""
    if "standardizer-mean" not in config:
        return None
    return Standardizer(
        mean=np.frombuffer(config["standardizer-mean"], dtype="<f4"),
        inverse_std=np.frombuffer(config["standardizer-inverse-std"], dtype="<f4"),
    )


def _float32_bytes(values: Any) -> bytes:
    return np.asarray(values, dtype="<f4").tobytes()
