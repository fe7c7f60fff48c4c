"""Server optimisers against their definitions, one coordinate after another; and their state in checkpoints."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from server.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from strategies.registry import assignment_rule
from strategies.state.server_optimizer import TAKES, ServerOptimizer

ETA, BETA1, BETA2, TAU = 0.3, 0.8, 0.9, 0.05


def optimizer(name: str, rate: float = ETA) -> ServerOptimizer:
    return ServerOptimizer(name, rate, BETA1, BETA2, TAU)


def by_hand(name: str, theta: float, changes: list[float | None]) -> float:
    """One coordinate through some rounds (None: nobody held it), as Algorithm 2 and FedAvgM say."""
    m, v = 0.0, TAU**2
    for delta in changes:
        if delta is None:
            continue
        if name == "average":
            theta += ETA * delta
            continue
        if name == "momentum":
            m = BETA1 * m + delta
            theta += ETA * m
            continue
        m = BETA1 * m + (1 - BETA1) * delta
        if name == "adagrad":
            v += delta**2
        elif name == "adam":
            v = BETA2 * v + (1 - BETA2) * delta**2
        elif v > delta**2:
            v -= (1 - BETA2) * delta**2
        else:
            v += (1 - BETA2) * delta**2
        theta += ETA * m / (v**0.5 + TAU)
    return theta


@settings(max_examples=25)
@given(name=st.sampled_from(sorted(TAKES)), seed=st.integers(0, 1000), whole=st.booleans())
def test_steps_follow_the_papers(name: str, seed: int, whole: bool) -> None:
    rng = np.random.default_rng(seed)
    shape, rounds = (3, 4), 4
    start = rng.normal(size=shape).astype(np.float32)
    deltas = rng.normal(size=(rounds, *shape)).astype(np.float32)
    held = np.ones((rounds, *shape), bool) if whole else rng.random((rounds, *shape)) < 0.6
    model, moments = {"w": start}, {}
    for delta, covered in zip(deltas, held, strict=True):
        averaged = {"w": np.where(covered, model["w"] + delta, model["w"])}
        before = {"w": model["w"].copy()}, {key: {"w": value["w"].copy()} for key, value in moments.items()}
        after, moved = optimizer(name).step(model, averaged, {"w": None if whole else covered}, moments)
        np.testing.assert_array_equal(model["w"], before[0]["w"])
        np.testing.assert_array_equal(after["w"][~covered], model["w"][~covered])
        for key, value in before[1].items():
            np.testing.assert_array_equal(moments[key]["w"], value["w"])
            np.testing.assert_array_equal(moved[key]["w"][~covered], value["w"][~covered])
        model, moments = after, moved
    for place in np.ndindex(*shape):
        changes = [float(d[place]) if h[place] else None for d, h in zip(deltas, held, strict=True)]
        assert model["w"][place] == pytest.approx(by_hand(name, float(start[place]), changes), rel=2e-4, abs=2e-4)


def test_plain_averaging_is_the_average_itself() -> None:
    averaged = {"w": np.array([0.1, 0.2], np.float32)}
    config = RunConfig()
    model, moments = ServerOptimizer.from_config(config).step({"w": np.zeros(2, np.float32)}, averaged, {"w": None}, {})
    assert model["w"] is averaged["w"]
    assert moments == {}


def test_rates_default_by_optimiser() -> None:
    rates = {name: ServerOptimizer.from_config(RunConfig(server_optimizer=name)).learning_rate for name in TAKES}
    assert rates == {"average": 1.0, "momentum": 1.0, "adagrad": 0.01, "adam": 0.01, "yogi": 0.01}


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match=r"server-tau = 0\.1: server-optimizer 'momentum' has none; it is for adagrad"):
        assignment_rule(RunConfig(server_optimizer="momentum", server_tau=0.1))
    with pytest.raises(InputError, match=r"server-optimizer = 'adams' is unknown; did you mean 'adam'\?"):
        RunConfig(server_optimizer="adams")
    with pytest.raises(InputError, match="set server-optimizer = 'yogi' beside"):
        assignment_rule(RunConfig(strategy="fedyogi"))
    for key in ("server_learning_rate", "server_momentum", "server_beta2", "server_tau"):
        with pytest.raises(InputError, match=key.replace("_", "-")):
            RunConfig(**{key: -1.0})


def test_checkpoints_keep_moments(tmp_path) -> None:
    weights = {"hidden.0.weight": np.ones((2, 3), np.float32)}
    moments = {"first": {"hidden.0.weight": np.full((2, 3), 0.1, np.float32)}, "second": dict(weights)}
    states = {"server": optimizer("adam").state(moments)}
    read = load_checkpoint(save_checkpoint(tmp_path, Checkpoint(3, weights, None, ("a", "b"), states)))
    loaded = optimizer("adam").load(read.states["server"])
    assert set(loaded) == {"first", "second"}
    for moment, held in moments.items():
        np.testing.assert_array_equal(loaded[moment]["hidden.0.weight"], held["hidden.0.weight"])
    assert load_checkpoint(save_checkpoint(tmp_path, Checkpoint(4, weights, None, ("a",)))).states == {}
    assert optimizer("adam").load({}) == {}
