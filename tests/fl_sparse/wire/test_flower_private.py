"""Records filled past Flower's checks are the records that Flower builds."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto

from fl_sparse.wire import array_record
from fl_sparse.wire.flower_private import filled


@pytest.mark.parametrize("kind", [ConfigRecord, MetricRecord])
def test_a_filled_record_is_flowers_own(kind: type) -> None:
    values = {"round": 3, "loss": 0.25, "scales": [1.0, 4.0]}
    empty = kind()
    made, expected = filled(empty, values), kind(values)
    assert made == expected
    assert made.deflate() == expected.deflate()
    assert type(made) is kind
    assert len(empty) == 0
    more = filled(made, {"round": 4})
    assert (made["round"], more["round"]) == (3, 4)
    with pytest.raises(TypeError):
        made["wrong"] = {"a": 1}


def test_a_filled_content_crosses_a_process_boundary() -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(0, dtype=np.int8)}
    content = filled(RecordDict(), {"arrays": array_record(arrays), "config": ConfigRecord({"round": 1})})
    read = recorddict_from_proto(recorddict_to_proto(content))
    plain = ArrayRecord({name: Array(values) for name, values in arrays.items()})
    assert read["arrays"].deflate() == plain.deflate()
    assert content["arrays"].deflate() == plain.deflate()
    assert read["config"]["round"] == 1
