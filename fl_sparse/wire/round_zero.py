"""Round 0's question and its answer: who a node is and what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, RecordDict

from fl_sparse.features.statistics import FeatureStatistics
from fl_sparse.wire.arrays import CONFIG, record_of


@dataclass(frozen=True)
class ClientDescription:
    """A node's answer to round 0's question: who it is and what it holds."""

    partition_id: int
    num_examples: int
    num_features: int
    classes: tuple[str, ...]
    capacity: float
    statistics: FeatureStatistics
    """Statistics of the node's F features over all its training images and their views, in float64."""
    version: str
    shard_bytes: int | None = None
    """Bytes of the node's training images as a shard (`fl_sparse.shard.size`); None if it holds features only."""


def content_of_description(description: ClientDescription) -> RecordDict:
    """Return the content of the answer to round 0's question."""
    config: dict[str, Any] = {
        "partition-id": description.partition_id,
        "num-examples": description.num_examples,
        "num-features": description.num_features,
        "classes": list(description.classes),
        "capacity": description.capacity,
        "moments-n": description.statistics.n,
        "moments-mean": _float64_bytes(description.statistics.mean),
        "moments-m2": _float64_bytes(description.statistics.m2),
        "version": description.version,
    }
    if description.shard_bytes is not None:
        config["shard-bytes"] = description.shard_bytes
    return RecordDict({CONFIG: ConfigRecord(config)})


def read_description(content: RecordDict) -> ClientDescription:
    """Return a node's description, checked.

    Raises
    ------
    ValueError
        Naming what is missing or malformed.
    """
    config = record_of(content, CONFIG, ConfigRecord)
    if config is None:
        raise ValueError("the description carries no record 'config'")
    try:
        features = int(config["num-features"])  # type: ignore[arg-type]
        statistics = FeatureStatistics(
            n=int(config["moments-n"]),  # type: ignore[arg-type]
            mean=np.frombuffer(config["moments-mean"], dtype="<f8"),  # type: ignore[arg-type]
            m2=np.frombuffer(config["moments-m2"], dtype="<f8"),  # type: ignore[arg-type]
        )
        described = ClientDescription(
            partition_id=int(config["partition-id"]),  # type: ignore[arg-type]
            num_examples=int(config["num-examples"]),  # type: ignore[arg-type]
            num_features=features,
            classes=tuple(str(name) for name in config["classes"]),  # type: ignore[union-attr]
            capacity=float(config["capacity"]),  # type: ignore[arg-type]
            statistics=statistics,
            version=str(config["version"]),
            shard_bytes=int(config["shard-bytes"]) if "shard-bytes" in config else None,  # type: ignore[arg-type]
        )
    except KeyError as error:
        raise ValueError(f"the description lacks {error.args[0]!r}") from None
    except (TypeError, OverflowError) as error:
        raise ValueError(f"the description is malformed: {error}") from None
    if described.partition_id < 0 or not 0.0 < described.capacity <= 1.0:
        raise ValueError(f"partition-id = {described.partition_id} or capacity = {described.capacity} is out of range")
    if (described.shard_bytes or 0) < 0:
        raise ValueError(f"shard-bytes = {described.shard_bytes}; expected 0 or more")
    if statistics.mean.shape != (features,) or statistics.m2.shape != (features,):
        raise ValueError(f"the moments are of {statistics.mean.size} features; expected {features}")
    if not (np.isfinite(statistics.mean).all() and np.isfinite(statistics.m2).all()):
        raise ValueError("the moments are not finite")
    return described


def _float64_bytes(values: Any) -> bytes:
    return np.asarray(values, dtype="<f8").tobytes()
