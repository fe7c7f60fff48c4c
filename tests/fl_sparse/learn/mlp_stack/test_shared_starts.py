"""Clients of a cohort that received the same weights are trained together by factors, the others in copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fl_sparse.learn import ArrayOps, OptimizerSpec, TorchOps
from fl_sparse.learn.local_training import LocalData, train_locally
from fl_sparse.learn.mlp_stack.stacking import ENOUGH_ALIKE
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.part.factored import FactoredWeight
from fl_sparse.wire import content_of_reply, parameters_of, read_reply, wire_bytes
from fl_sparse.wire.exchange import TrainOrder, UpdateEncoding
from tests.fl_sparse.train_orders import order as train_order

SPEC = MLPSpec(40, (30,), 4, "relu", "none")
NAMESPACES = {"numpy": ArrayOps, "torch": TorchOps}


def order(parameters: dict[str, np.ndarray], **changes: object) -> TrainOrder:
    return train_order(parameters, **{"optimizer": OptimizerSpec("sgd", 0.1, momentum=0.5)} | changes)


def held(client: int, size: int = 9) -> LocalData:
    return LocalData(FEATURES, LABELS, np.arange(size) + 9 * client, client)


RNG = np.random.default_rng(0)
FEATURES, LABELS = RNG.normal(size=(90, 40)).astype(np.float32), RNG.integers(0, 4, 90)
START, OTHER = init_parameters(SPEC, 0), init_parameters(SPEC, 1)


def is_factored(reply) -> bool:
    return isinstance(reply.parameters["hidden.0.weight"], FactoredWeight)


@pytest.mark.parametrize("kind", NAMESPACES)
def test_those_with_the_same_start_are_factored_and_all_agree_with_training_alone(kind: str) -> None:
    starts = [OTHER, START, init_parameters(SPEC, 2), *[START, OTHER] * 7, init_parameters(SPEC, 3), START]
    expected = [start is START for start in starts]
    assert (sum(expected), sum(start is OTHER for start in starts)) == (ENOUGH_ALIKE + 1, ENOUGH_ALIKE)
    expected = [start is START or start is OTHER for start in starts]
    orders = [order(start, subnet=k) for k, start in enumerate(starts)]
    data = [held(k % 10, 9 - k % 9) for k in range(len(starts))]
    replies = train_locally(orders, data, NAMESPACES[kind]())
    assert [is_factored(reply) for reply in replies] == expected
    assert [reply.subnet for reply in replies] == list(range(len(starts)))
    for one, its_order, its_data in zip(replies, orders, data, strict=True):
        (alone,) = train_locally([its_order], [its_data], NAMESPACES[kind]())
        assert not is_factored(alone)
        assert one.loss == pytest.approx(alone.loss, rel=1e-5)
        for name, values in alone.parameters.items():
            np.testing.assert_allclose(np.asarray(one.parameters[name]), values, rtol=1e-5, atol=1e-6)
    assert not isinstance(replies[0].parameters["output.weight"], FactoredWeight)


@pytest.mark.parametrize(
    "changes",
    [
        {"local_steps": 5},
        {"optimizer": OptimizerSpec("adam", 0.001)},
        {"prefixes": ((15,), (30,))},
        {"update": UpdateEncoding("int8")},
        {"moments": {"momentum": {name: np.zeros_like(values) for name, values in START.items()}}, "steps_taken": 3},
    ],
    ids=lambda value: next(iter(value)),
)
def test_copies_where_factors_are_larger_or_do_not_do(changes: dict[str, object]) -> None:
    replies = train_locally(
        [order(START, **changes)] * ENOUGH_ALIKE, [held(k) for k in range(ENOUGH_ALIKE)], ArrayOps()
    )
    assert not any(is_factored(reply) for reply in replies)


@pytest.mark.parametrize("kind", NAMESPACES)
def test_a_factored_reply_is_a_reply_like_others(kind: str) -> None:
    factored = train_locally([order(START)] * ENOUGH_ALIKE, [held(k) for k in range(ENOUGH_ALIKE)], NAMESPACES[kind]())[
        0
    ]
    dense = replace(factored, parameters={name: np.asarray(values) for name, values in factored.parameters.items()})
    content, plain = content_of_reply(factored), content_of_reply(dense)
    assert is_factored(factored)
    assert wire_bytes(content) == wire_bytes(plain)
    for name, values in dense.parameters.items():
        assert content["arrays"][name].data == plain["arrays"][name].data
        assert parameters_of(content["arrays"])[name].tobytes() == values.tobytes()
    shapes = {name: values.shape for name, values in START.items()}
    read = read_reply(content, round_number=1, subnet=0, shapes=shapes)
    assert is_factored(read)
    weight = factored.parameters["hidden.0.weight"]
    gradients = np.array(weight.ops.to_host(weight.gradients))
    gradients[0] = np.nan
    lost = replace(weight, gradients=weight.ops.from_host(gradients), bound=np.nan)
    damaged = replace(factored, parameters={**factored.parameters, "hidden.0.weight": lost})
    with pytest.raises(ValueError, match=r"hidden\.0\.weight holds values that are not finite"):
        read_reply(content_of_reply(damaged), round_number=1, subnet=0, shapes=shapes)
    shapes["hidden.0.weight"] = (30, 41)
    with pytest.raises(ValueError, match=r"of shape \(30, 40\); expected \(30, 41\)"):
        read_reply(content_of_reply(factored), round_number=1, subnet=0, shapes=shapes)


def test_few_clients_with_the_same_start_are_trained_in_copies() -> None:
    few = ENOUGH_ALIKE - 1
    replies = train_locally([order(START)] * few, [held(k) for k in range(few)], ArrayOps())
    assert not any(is_factored(reply) for reply in replies)


@pytest.mark.parametrize("kind", NAMESPACES)
def test_the_skip_term_counts_and_comes_back_as_it_was(kind: str) -> None:
    skip = {
        "skip.weight": RNG.normal(size=(4, 40)).astype(np.float32),
        "skip.bias": RNG.normal(size=4).astype(np.float32),
    }
    orders = [order(START | skip, batch_size=1)] * ENOUGH_ALIKE
    data = [held(k) for k in range(ENOUGH_ALIKE)]
    for reply, its_order, its_data in zip(train_locally(orders, data, NAMESPACES[kind]()), orders, data, strict=True):
        (alone,) = train_locally([its_order], [its_data], NAMESPACES[kind]())
        assert is_factored(reply)
        assert reply.loss == pytest.approx(alone.loss, rel=1e-5)
        assert np.asarray(reply.parameters["skip.weight"]).tobytes() == skip["skip.weight"].tobytes()
