"""Error feedback: nothing is lost over the rounds but the last residual, and a residual applies when it is named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.codec import CODECS
from fl_sparse.codec.residual import Residual, UpdateEncoding, add_update, encode_update
from fl_sparse.learn.task import Trained
from fl_sparse.wire.replies import reply_to
from tests.fl_sparse.train_orders import order, training_job

SHAPES = {"output.weight": (3, 5), "output.bias": (3,)}


def drawn(rng: np.random.Generator, size: float) -> dict[str, np.ndarray]:
    return {name: rng.normal(scale=size, size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def added(received: dict[str, np.ndarray], update: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: received[name] + update[name] for name in SHAPES}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), update_format=st.sampled_from(["bfloat16", "int8"]), rounds=st.integers(1, 12))
def test_decoded_updates_sum_to_the_true_ones_less_the_last_residual(
    seed: int, update_format: str, rounds: int
) -> None:
    rng = np.random.default_rng(seed)
    received, before = drawn(rng, 1.0), None
    true = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    arrived = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    for number in range(1, rounds + 1):
        trained = added(received, drawn(rng, 0.1))
        arrays, lost = encode_update(received, trained, UpdateEncoding(update_format, True, number - 1), before)
        assert lost is not None
        before = Residual(number, lost)
        decoded = CODECS[update_format].decode(arrays)
        for name in SHAPES:
            true[name] += trained[name].astype(np.float64) - received[name]
            arrived[name] += decoded[name]
        received = add_update(received, decoded)
    assert before is not None
    for name in SHAPES:
        np.testing.assert_allclose(arrived[name], true[name] - before.values[name], atol=rounds * 1e-7)
        # The residual is the rounding of one update, however many rounds went by.
        assert np.abs(before.values[name]).max() <= (2**-8 if update_format == "bfloat16" else 0.5 / 127) * 0.6


def test_a_small_step_arrives_in_the_end_with_error_feedback_alone() -> None:
    """One value a hundred times the other: in int8 the small one, below half a step, is lost unless it is kept."""
    received = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    update = {name: np.full(shape, 0.003, np.float32) for name, shape in SHAPES.items()}
    update["output.bias"][0] = 1.0
    for feedback, expected in ((True, 0.3), (False, 0.0)):
        arrived, before = 0.0, None
        for number in range(1, 101):
            asked = UpdateEncoding("int8", feedback, number - 1)
            arrays, lost = encode_update(received, added(received, update), asked, before)
            assert (lost is not None) == feedback
            before = None if lost is None else Residual(number, lost)
            arrived += float(CODECS["int8"].decode(arrays)["output.bias"][1])
        assert arrived == pytest.approx(expected, abs=0.5 / 127)


@pytest.mark.parametrize(("named", "applies"), [(3, True), (2, False), (0, False)])
def test_a_residual_applies_only_if_the_order_names_its_round(named: int, applies: bool) -> None:
    rng = np.random.default_rng(0)
    received, update = drawn(rng, 1.0), drawn(rng, 0.1)
    kept = Residual(3, drawn(rng, 0.1))
    asked = order(training_job(received), round=5, update=UpdateEncoding("int8", True, named))
    reply, residual = reply_to(asked, Trained(added(received, update), 1, 0.0), kept)
    shifted = {name: update[name] + kept.values[name] * applies for name in SHAPES}
    assert residual is not None
    assert residual.round == 5
    for name, values in CODECS["int8"].decode(reply.parameters).items():
        np.testing.assert_allclose(values + residual.values[name], shifted[name], atol=1e-6)


def test_float32_travels_as_trained() -> None:
    received = drawn(np.random.default_rng(0), 1.0)
    trained = added(received, received)
    arrays, lost = encode_update(received, trained, UpdateEncoding(), None)
    assert arrays is trained
    assert lost is None


def test_an_update_that_is_not_finite_leaves_no_residual() -> None:
    received = drawn(np.random.default_rng(0), 1.0)
    trained = {name: np.full(shape, np.inf, np.float32) for name, shape in SHAPES.items()}
    for feedback in (True, False):
        assert encode_update(received, trained, UpdateEncoding("int8", feedback), None)[1] is None
    asked = order(training_job(received), update=UpdateEncoding("int8", True))
    assert reply_to(asked, Trained(trained, 1, 0.0), None)[1] is None


def test_a_sum_that_is_not_finite_is_named() -> None:
    largest = {"output.bias": np.full(2, np.finfo(np.float32).max)}
    with pytest.raises(ValueError, match=r"output\.bias holds values that are not finite once the update is added"):
        add_update(largest, largest)
