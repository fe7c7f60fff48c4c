"""What a node says of itself survives the wire, and is checked."""

from dataclasses import replace

import numpy as np
import pytest

from fl_sparse.features.statistics import FeatureStatistics
from fl_sparse.wire import (
    ClientDescription,
    content_of_description,
    read_description,
)
from tests.fl_sparse.wire.boundary import across

DESCRIPTION = ClientDescription(
    partition_id=2,
    num_examples=30,
    num_features=3,
    classes=("cat", "dog"),
    capacity=0.5,
    statistics=FeatureStatistics(30, np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])),
    version="0.1.0",
)


def test_a_description_survives_the_wire() -> None:
    received = read_description(across(content_of_description(DESCRIPTION)))
    np.testing.assert_array_equal(received.statistics.mean, DESCRIPTION.statistics.mean)
    np.testing.assert_array_equal(received.statistics.m2, DESCRIPTION.statistics.m2)
    assert replace(received, statistics=DESCRIPTION.statistics) == DESCRIPTION
    weighed = replace(DESCRIPTION, shard_bytes=3_000_000_000)
    assert read_description(across(content_of_description(weighed))).shard_bytes == 3_000_000_000


def test_a_malformed_description_is_named() -> None:
    content = content_of_description(DESCRIPTION)
    del content.config_records["config"]["capacity"]
    with pytest.raises(ValueError, match="lacks 'capacity'"):
        read_description(content)
    with pytest.raises(ValueError, match="moments are of 3 features; expected 4"):
        read_description(content_of_description(replace(DESCRIPTION, num_features=4)))
    for wrong in ({"partition_id": -1}, {"capacity": 0.0}, {"capacity": float("nan")}):
        with pytest.raises(ValueError, match="is out of range"):
            read_description(content_of_description(replace(DESCRIPTION, **wrong)))
    content = content_of_description(DESCRIPTION)
    content.config_records["config"]["classes"] = 3
    with pytest.raises(ValueError, match="malformed"):
        read_description(content)
    broken = FeatureStatistics(30, np.array([np.nan, 1, 1]), np.ones(3))
    with pytest.raises(ValueError, match="not finite"):
        read_description(content_of_description(replace(DESCRIPTION, statistics=broken)))
    with pytest.raises(ValueError, match="shard-bytes = -1; expected 0 or more"):
        read_description(content_of_description(replace(DESCRIPTION, shard_bytes=-1)))
