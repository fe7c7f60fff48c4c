"""Clients of a cohort that received the same weights are trained together by factors, the others in copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fl_sparse.array_ops import ArrayOps, TorchOps
from fl_sparse.learn.learner import ClientJob, FeatureRows, train_in_turn
from fl_sparse.learn.mlp_stack.learner import ENOUGH_ALIKE, MLPLearner
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.learn.task import CarriedState, Trained
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.part.factored import FactoredWeight
from fl_sparse.wire import Expected, content_of_reply, parameters_of, read_reply, wire_bytes
from fl_sparse.wire.replies import reply_to
from tests.fl_sparse.train_orders import order, training_job

SPEC = MLPSpec(40, (30,), 4, "relu", "none")
OPS = {"numpy": ArrayOps, "torch": TorchOps}
RNG = np.random.default_rng(0)
TABLE = FeatureRows(RNG.normal(size=(90, 40)).astype(np.float32), RNG.integers(0, 4, 90))
START, OTHER = init_parameters(SPEC, 0), init_parameters(SPEC, 1)


def client_job(
    client: int,
    parameters: dict[str, np.ndarray] = START,
    start: int = 0,
    *,
    size: int = 9,
    takes_factors: bool = True,
    **changes: object,
) -> ClientJob:
    job = training_job(parameters, **{"optimizer": OptimizerSpec("sgd", 0.1, momentum=0.5)} | changes)
    return ClientJob(job, client, np.arange(size) + 9 * client, start, takes_factors)


def trained(jobs: list[ClientJob], kind: str = "numpy") -> list[Trained]:
    return list(train_in_turn(MLPLearner(OPS[kind]()), jobs, TABLE))


def is_factored(result: Trained) -> bool:
    return isinstance(result.parameters["hidden.0.weight"], FactoredWeight)


@pytest.mark.parametrize("kind", OPS)
def test_those_with_the_same_start_are_factored_and_all_agree_with_training_alone(kind: str) -> None:
    models = [START, OTHER, init_parameters(SPEC, 2), init_parameters(SPEC, 3)]
    starts = [1, 0, 2, *[0, 1] * 7, 3, 0]
    assert (starts.count(0), starts.count(1)) == (ENOUGH_ALIKE + 1, ENOUGH_ALIKE)
    jobs = [client_job(k % 10, models[start], start, size=9 - k % 9) for k, start in enumerate(starts)]
    results = trained(jobs, kind)
    assert [is_factored(result) for result in results] == [start in (0, 1) for start in starts]
    assert [result.num_examples for result in results] == [9 - k % 9 for k in range(len(starts))]
    for one, job in zip(results, jobs, strict=True):
        (alone,) = trained([job], kind)
        assert not is_factored(alone)
        assert one.loss == pytest.approx(alone.loss, rel=1e-5)
        for name, values in alone.parameters.items():
            np.testing.assert_allclose(np.asarray(one.parameters[name]), values, rtol=1e-5, atol=1e-6)
    assert not isinstance(results[0].parameters["output.weight"], FactoredWeight)


@pytest.mark.parametrize(
    "changes",
    [
        {"local_steps": 5},
        {"optimizer": OptimizerSpec("adam", 0.001)},
        {"prefixes": ((15,), (30,))},
        {"takes_factors": False},
        {"state": CarriedState({"momentum": {name: np.zeros_like(values) for name, values in START.items()}}, 3)},
    ],
    ids=lambda value: next(iter(value)),
)
def test_copies_where_factors_are_larger_or_do_not_do(changes: dict[str, object]) -> None:
    results = trained([client_job(client, **changes) for client in range(ENOUGH_ALIKE)])
    assert not any(is_factored(result) for result in results)


@pytest.mark.parametrize("kind", OPS)
def test_a_factored_reply_is_a_reply_like_others(kind: str) -> None:
    jobs = [client_job(client) for client in range(ENOUGH_ALIKE)]
    factored, _ = reply_to(order(jobs[0].job), trained(jobs, kind)[0], None)
    dense = replace(factored, parameters={name: np.asarray(values) for name, values in factored.parameters.items()})
    content, plain = content_of_reply(factored), content_of_reply(dense)
    assert isinstance(factored.parameters["hidden.0.weight"], FactoredWeight)
    assert wire_bytes(content) == wire_bytes(plain)
    for name, values in dense.parameters.items():
        assert content["arrays"][name].data == plain["arrays"][name].data
        assert parameters_of(content["arrays"])[name].tobytes() == values.tobytes()
    expected = Expected(SPEC.model)
    read = read_reply(content, round_number=1, number=0, expected=expected)
    assert isinstance(read.parameters["hidden.0.weight"], FactoredWeight)
    weight = factored.parameters["hidden.0.weight"]
    gradients = np.array(weight.ops.to_host(weight.gradients))
    gradients[0] = np.nan
    lost = replace(weight, gradients=weight.ops.from_host(gradients), bound=np.nan)
    damaged = replace(factored, parameters={**factored.parameters, "hidden.0.weight": lost})
    with pytest.raises(ValueError, match=r"hidden\.0\.weight holds values that are not finite"):
        read_reply(content_of_reply(damaged), round_number=1, number=0, expected=expected)
    wider = Expected(MLPSpec(41, (30,), 4).model)
    with pytest.raises(ValueError, match=r"of shape \(30, 40\); expected \(30, 41\)"):
        read_reply(content_of_reply(factored), round_number=1, number=0, expected=wider)


def test_few_clients_with_the_same_start_are_trained_in_copies() -> None:
    results = trained([client_job(client) for client in range(ENOUGH_ALIKE - 1)])
    assert not any(is_factored(result) for result in results)


@pytest.mark.parametrize("kind", OPS)
def test_the_skip_term_counts_and_comes_back_as_it_was(kind: str) -> None:
    skip = {
        "skip.weight": RNG.normal(size=(4, 40)).astype(np.float32),
        "skip.bias": RNG.normal(size=4).astype(np.float32),
    }
    jobs = [client_job(client, START | skip, batch_size=1) for client in range(ENOUGH_ALIKE)]
    for result, job in zip(trained(jobs, kind), jobs, strict=True):
        (alone,) = trained([job], kind)
        assert is_factored(result)
        assert result.loss == pytest.approx(alone.loss, rel=1e-5)
        assert np.asarray(result.parameters["skip.weight"]).tobytes() == skip["skip.weight"].tobytes()
