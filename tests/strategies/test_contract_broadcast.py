"""Parts that travel down in fewer bits, whatever the strategy: the server's model stays what it is in float32."""

from __future__ import annotations

import numpy as np
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto

from fl_sparse.codec import CODECS
from fl_sparse.config import RunConfig
from fl_sparse.nested_names import nested
from fl_sparse.wire import parameters_of, read_order, wire_bytes
from strategies.registry import STRATEGIES, assignment_rule
from strategies.round.strategy import SubmodelStrategy
from strategies.state.broadcast import check_broadcast_feedback
from tests.strategies.cohort_of_five import (
    aggregate,
    answer,
    ask,
    cohort,
    configuration,
    model,
    placed,
    received,
    strategy,
    trained,
)

FORMATS = {"bfloat16": 2**-8, "int8": 1 / 254}
"""Formats, and what a value may be off by, as a share of the largest of its parameter."""
ROUNDING = 2**-24
"""Half a unit in the last place of a float32 number below 1."""


def configurations(name: str) -> list[RunConfig]:
    """Both formats down, each with float32 and int8 up."""
    pairs = [(down, up) for down in FORMATS for up in ("float32", "int8")]
    return [configuration(name, broadcast_format=down, update_format=up) for down, up in pairs]


def changed(made: SubmodelStrategy, messages: list, changes: dict[str, np.ndarray]) -> list:
    """Each client changes what it decodes by the same."""
    replies = []
    for message in messages:
        own = placed(made, message).part.cut(made.network.model, changes)
        moved = {key: values + own[key] for key, values in received(message).items()}
        replies.append(answer(message, parameters=moved))
    return replies


def test_equal_changes_give_the_model_of_a_run_in_float32(name: str) -> None:
    """What a client decodes is off by a rounding; the change that it makes of it is not."""
    plain = strategy(configuration(name))
    weights = model(plain.config)
    rng = np.random.default_rng(0)
    changes = {key: rng.normal(scale=0.1, size=values.shape).astype(np.float32) for key, values in weights.items()}
    largest = max(float(np.abs(values).max()) for values in changes.values())
    assert largest < 1
    expected = aggregate(plain, changed(plain, ask(plain, weights), changes))
    assert any((values != weights[key]).any() for key, values in expected.items())
    for config in configurations(name):
        made = strategy(config)
        merged = aggregate(made, changed(made, ask(made, weights), changes))
        assert made.report.refused == 0
        error = largest / 254 if config.update_format == "int8" else 0.0
        for key, values in expected.items():
            np.testing.assert_allclose(merged[key], values, rtol=0, atol=error + 8 * ROUNDING)


def test_unchanged_replies_leave_the_servers_float32_model_bit_for_bit(name: str) -> None:
    for config in configurations(name):
        made, weights = strategy(config), model(config)
        before = {key: values.tobytes() for key, values in weights.items()}
        for number in (1, 2, 3):
            messages = ask(made, weights, number)
            # It would be no law if nothing were lost on the way down.
            assert all(lost(made, message, weights) > 0 for message in messages)
            weights = aggregate(made, [answer(message) for message in messages], number)
            assert {key: values.tobytes() for key, values in weights.items()} == before


def lost(made: SubmodelStrategy, message, weights: dict[str, np.ndarray]) -> float:
    """The largest difference between what the server holds of a part and what its client decodes."""
    cut = placed(made, message).part.cut(made.network.model, weights)
    return max(float(np.abs(values - cut[key]).max()) for key, values in received(message).items())


def test_bytes_down_are_those_of_the_messages(name: str) -> None:
    down = {}
    for broadcast_format in ("float32", *FORMATS):
        made = strategy(configuration(name, broadcast_format=broadcast_format))
        messages = ask(made, model(made.config))
        down[broadcast_format] = made.report.bytes_down
        assert made.report.bytes_down == sum(wire_bytes(message.content) for message in messages)
        words = [message.content.config_records["config"].get("broadcast-format") for message in messages]
        assert set(words) == {None if broadcast_format == "float32" else broadcast_format}
        aggregate(made, [answer(message) for message in messages])
        assert made.report.refused == 0
    assert down["bfloat16"] < down["float32"]


def test_clients_start_from_what_they_decode(name: str) -> None:
    for config in configurations(name):
        made, weights, codec = strategy(config), model(config), CODECS[config.broadcast_format]
        messages = ask(made, weights)
        for message in messages:
            part = placed(made, message).part
            expected = codec.decode(codec.encode(part.cut(made.network.model, weights)))
            # As it is read in another process.
            order = read_order(recorddict_from_proto(recorddict_to_proto(message.content)))
            for start in (order.job.part.parameters, received(message)):
                assert start.keys() == expected.keys()
                for key, values in expected.items():
                    np.testing.assert_array_equal(start[key], values)
        for message in messages:
            # An update is the difference from these: nothing, if nothing was trained.
            sent = parameters_of(answer(message).content.array_records["arrays"])
            if config.update_format == "int8":
                update = CODECS["int8"].decode(sent)
                assert all((values == 0).all() for values in update.values())
            else:
                assert all((values == received(message)[key]).all() for key, values in sent.items())


def test_the_proximal_term_pulls_towards_what_clients_decode(name: str) -> None:
    """In the first step it is zero there, however strong; in the second it is not."""
    for broadcast_format in FORMATS:
        sent = {}
        for steps in (1, 2):
            for pull in (0.1, 10.0):
                keys = {"broadcast_format": broadcast_format, "local_steps": steps, "proximal": pull}
                made = strategy(configuration(name, **keys))
                replies = trained(ask(made, model(made.config)))
                arrays = [parameters_of(reply.content.array_records["arrays"]) for reply in replies]
                sent[steps, pull] = [values.tobytes() for held in arrays for values in held.values()]
        assert sent[1, 0.1] == sent[1, 10.0]
        assert sent[2, 0.1] != sent[2, 10.0]


def test_with_feedback_what_clients_decode_is_right_in_the_mean(name: str) -> None:
    """Of a part that is sent in every round: decoded values sum to R θ less the last residual."""
    stay = {"repartition_every": 20} if "repartition-every" in STRATEGIES[name].options else {}
    rounds = 12
    for down, up in ((down, up) for down in FORMATS for up in ("float32", "int8")):
        keys = {"broadcast_format": down, "update_format": up, "broadcast_error_feedback": True, **stay}
        config = configuration(name, **keys)
        check_broadcast_feedback(config, assignment_rule(config), cohort(config))
        made, weights = strategy(config), model(config)
        sums: dict[bytes, list[dict[str, np.ndarray]]] = {}
        for number in range(1, rounds + 1):
            messages = ask(made, weights, number)
            for message in messages:
                seen = sums.setdefault(placed(made, message).part.digest, [])
                if len(seen) < number:
                    seen.append({key: values.astype(np.float64) for key, values in received(message).items()})
            weights = aggregate(made, [answer(message) for message in messages], number)
            assert broadcast_digests(made) == {group.placement.part.digest.hex() for group in made._groups}
        residuals = nested(made.states()["broadcast"])
        steady = [group.placement.part for group in made._groups if len(sums[group.placement.part.digest]) == rounds]
        assert steady
        for part in steady:
            true = part.cut(made.network.model, weights)
            once, mean = 0.0, 0.0
            for key, values in true.items():
                decoded = [seen[key] for seen in sums[part.digest]]
                error = np.abs(np.mean(decoded, axis=0) - values).max()
                # A residual is a rounding of θ + e, which is larger than θ by a rounding at most.
                assert error <= 1.02 * FORMATS[down] * np.abs(values).max() / rounds + ROUNDING
                once, mean = max(once, np.abs(decoded[0] - values).max()), max(mean, error)
                left = rounds * values.astype(np.float64) - np.sum(decoded, axis=0)
                np.testing.assert_allclose(residuals[part.digest.hex()][key], left, rtol=0, atol=rounds * ROUNDING)
            assert mean < once / 4


def broadcast_digests(made: SubmodelStrategy) -> set[str]:
    return set(nested(made.states()["broadcast"]))


def test_without_feedback_nothing_is_kept(name: str) -> None:
    for config in configurations(name):
        made, weights = strategy(config), model(config)
        first = [received(message) for message in ask(made, weights)]
        aggregate(made, [answer(message) for message in ask(made, weights)])
        assert "broadcast" not in made.states()
        # The same part decodes to the same again.
        for before, message in zip(first, ask(made, weights), strict=True):
            for key, values in received(message).items():
                np.testing.assert_array_equal(values, before[key])
