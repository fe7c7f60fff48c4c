"""Orders survive the wire, and say nothing of what is the default."""

from dataclasses import replace

import numpy as np
import pytest

from fl_sparse.codec import CODECS
from fl_sparse.codec.residual import UpdateEncoding
from fl_sparse.features.statistics import Standardizer
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.learn.task import CarriedState, HeldPart, Task, TrainingJob
from fl_sparse.wire import (
    EvaluationOrder,
    Standardizing,
    TrainOrder,
    content_of_evaluation_order,
    content_of_order,
    read_evaluation_order,
    read_order,
)
from fl_sparse.wire.orders import Broadcast
from tests.fl_sparse.wire.boundary import across

WEIGHTS = {"output.weight": np.ones((2, 3), np.float32), "output.bias": np.zeros(2, np.float32)}
UNEVEN = {"output.weight": np.array([[1, -2, 3], [0, 0, 0]], np.float32), "output.bias": np.ones(2, np.float32)}
STANDARDIZER = Standardizer(np.array([0.5, 1.5], np.float32), np.array([2.0, 3.0], np.float32))
ORDER = TrainOrder(
    round=4,
    number=1,
    job=TrainingJob(
        task=Task(
            activation="gelu",
            normalization="layer",
            optimizer=OptimizerSpec("sgd", 0.1, 0.9, 0.01),
            local_steps=20,
            batch_size=64,
            seed=7,
        ),
        first_step=60,
        part=HeldPart(WEIGHTS, scales=(1.0, 4.0)),
    ),
    standardizing=Standardizing(True, STANDARDIZER),
)


def assert_same_job(one: TrainingJob, other: TrainingJob) -> None:
    assert one.part.parameters.keys() == other.part.parameters.keys()
    for name, values in other.part.parameters.items():
        np.testing.assert_array_equal(one.part.parameters[name], values)
    plain, others = (replace(job, part=replace(job.part, parameters={})) for job in (one, other))
    assert plain == others


def assert_same_standardizing(one: Standardizing, other: Standardizing) -> None:
    assert one.sent is not None
    assert other.sent is not None
    np.testing.assert_array_equal(one.sent.mean, other.sent.mean)
    np.testing.assert_array_equal(one.sent.inverse_std, other.sent.inverse_std)
    assert one.expected == other.expected


def test_an_order_survives_the_wire() -> None:
    received = read_order(across(content_of_order(ORDER)))
    assert_same_job(received.job, ORDER.job)
    assert_same_standardizing(received.standardizing, ORDER.standardizing)
    plain = {"job": None, "standardizing": None}
    assert replace(received, **plain) == replace(ORDER, **plain)
    without = replace(ORDER, standardizing=Standardizing(False))
    assert read_order(across(content_of_order(without))).standardizing == without.standardizing


def test_an_evaluation_order_survives_the_wire() -> None:
    asked = EvaluationOrder(4, ORDER.job, ORDER.standardizing)
    received = read_evaluation_order(across(content_of_evaluation_order(asked)))
    assert received.round == 4
    assert_same_job(received.job, asked.job)
    assert_same_standardizing(received.standardizing, asked.standardizing)


def test_an_order_carries_the_optimizers_state() -> None:
    moments = {"momentum": {name: np.full_like(values, 0.5) for name, values in WEIGHTS.items()}}
    sent = replace(ORDER, job=replace(ORDER.job, state=CarriedState(moments, 40)))
    received = read_order(across(content_of_order(sent))).job
    assert received.part.parameters.keys() == WEIGHTS.keys()
    assert received.state.steps_taken == 40
    assert received.state.moments.keys() == moments.keys()
    for name, values in moments["momentum"].items():
        np.testing.assert_array_equal(received.state.moments["momentum"][name], values)
    assert "steps-taken" not in content_of_order(ORDER).config_records["config"]


@pytest.mark.parametrize("name", ["bfloat16", "int8"])
def test_a_broadcast_is_what_the_client_trains_once_decoded(name: str) -> None:
    codec, values = CODECS[name], {key: array / 3 for key, array in UNEVEN.items()}
    arrays = codec.encode(values)
    job = replace(ORDER.job, part=replace(ORDER.job.part, parameters=codec.decode(arrays)))
    sent = replace(ORDER, job=job, broadcast=Broadcast(name, arrays))
    content = across(content_of_order(sent))
    assert {key: array.dtype for key, array in content["arrays"].items()} == {
        key: str(array.dtype) for key, array in arrays.items()
    }
    received = read_order(content)
    assert_same_job(received.job, job)
    assert received.broadcast.format == name
    assert "broadcast-format" not in content_of_order(ORDER).config_records["config"]


def test_an_order_carries_one_array_record_and_one_config_record() -> None:
    content = content_of_order(ORDER)
    assert len(content.array_records) == len(content.config_records) == len(content) / 2 == 1


def test_an_order_asks_for_a_format_and_says_nothing_of_the_default() -> None:
    asked = replace(ORDER, update=UpdateEncoding("int8", True, 3))
    assert read_order(across(content_of_order(asked))).update == asked.update
    assert "update-format" not in content_of_order(ORDER).config_records["config"]


def test_classes_are_asked_for_only_when_absent_ones_are_not_trained() -> None:
    asked = replace(ORDER, job=replace(ORDER.job, task=replace(ORDER.job.task, absent_classes="masked")))
    assert read_order(across(content_of_order(asked))).job.task.absent_classes == "masked"
    assert "absent-classes" not in content_of_order(ORDER).config_records["config"]
