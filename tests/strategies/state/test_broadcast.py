"""Residuals of what the server sends: which runs they are of use in, and what a part's residual is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.__main__ import main
from fl_sparse.array_ops import ArrayOps
from fl_sparse.codec import CODECS
from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.part import WHOLE, Part
from fl_sparse.part.factored import FactoredWeight
from strategies.registry import assignment_rule
from strategies.state.broadcast import BroadcastResiduals, check_broadcast_feedback, rebased
from tests.strategies.cohort_of_five import cohort, configuration, model, network

ON = {"broadcast_format": "int8", "broadcast_error_feedback": True}


@pytest.mark.parametrize(
    ("name", "keys", "useful"),
    [
        ("fedavg", {}, True),
        ("fedavg", {"num_server_rounds": 1}, False),
        ("heterofl", {}, True),
        ("fjord", {}, True),
        ("federated-dropout", {"capacities": "0.5"}, False),
        # Clients of capacity 1 have all units in every round.
        ("federated-dropout", {"capacities": "0.5,1"}, True),
        # A window of 9 and of 7 units is back where it was after 63 rounds, but not in the round after.
        ("fedrolex", {"capacities": "0.5", "num_server_rounds": 70}, False),
        ("ist", {"capacities": "1"}, False),
        ("ist", {"capacities": "1", "num_subnets": 1}, True),
        ("ist", {"capacities": "1", "repartition_every": 2}, True),
        # One of three subnets a round: in two rounds of one draw it may be the same, in one round it cannot.
        ("ist", {"capacities": "1", "repartition_every": 20, "clients_per_round": 1, "num_server_rounds": 20}, True),
        ("ist-capacity", {"capacities": "0.5"}, False),
        ("ist-capacity", {"capacities": "0.5", "repartition_every": 2}, True),
    ],
)
def test_it_is_refused_where_no_part_stays(name: str, keys: dict, useful: bool) -> None:
    config = configuration(name, **ON, **keys)
    rule, clients = assignment_rule(config), cohort(config)
    if useful:
        check_broadcast_feedback(config, rule, clients)
    else:
        words = f"broadcast-error-feedback = true: strategy '{name}' sends no part in two rounds in a row in any of "
        with pytest.raises(InputError, match=words) as caught:
            check_broadcast_feedback(config, rule, clients)
        assert ("or a larger repartition-every" in str(caught.value)) == name.startswith("ist")
        assert "\n" not in str(caught.value)
    plain = configuration(name, **keys)
    check_broadcast_feedback(plain, assignment_rule(plain), clients)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["strategy=ist", "num-subnets=2"], "expected false, or a larger repartition-every"),
        (["strategy=federated-dropout", "capacities=0.5"], "sends no part in two rounds in a row"),
        (["strategy=fedavg", "broadcast-format=float32"], "broadcast-format 'float32' loses nothing"),
        (["strategy=alone", "broadcast-error-feedback=false"], "broadcast-format = 'int8': clients exchange nothing"),
    ],
    ids=str,
)
def test_a_run_without_use_for_it_ends_before_it_starts(
    keys: list[str], words: str, tiny_encoder: str, tmp_path: Path, capsys
) -> None:
    on = [f"encoder={tiny_encoder}", "hidden-widths=24", "broadcast-format=int8", "broadcast-error-feedback=true"]
    overrides = [part for key in [*on, *keys] for part in ("-c", key)]
    assert main(["run", *overrides, "--out", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["bfloat16", "int8"])
def test_a_residual_goes_into_the_next_round_of_the_same_part_alone(name: str) -> None:
    config = RunConfig(broadcast_format=name, broadcast_error_feedback=True)
    values, codec = model(configuration("fedavg")), CODECS[name]
    broadcast, base, lost = BroadcastResiduals().sent(config, WHOLE, values)
    assert broadcast.format == name
    for key, array in values.items():
        np.testing.assert_array_equal(base[key], codec.decode(codec.encode(values))[key])
        np.testing.assert_array_equal(lost[key], array - base[key])
    known = BroadcastResiduals({WHOLE.digest: lost})
    _, again, left = known.sent(config, WHOLE, values)
    for key, array in values.items():
        whole = array + lost[key]
        np.testing.assert_array_equal(again[key], codec.decode(codec.encode({key: whole}))[key])
        np.testing.assert_array_equal(left[key], whole - again[key])
    axes = {"hidden.0": np.arange(9)}
    masks = {"output.bias": np.array([True, False, True])}
    for other in (Part(axes), Part(masks=masks)):
        _, first, _ = known.sent(config, other, values)
        assert all((first[key] == base[key]).all() for key in values)


def test_states_are_what_was_lost() -> None:
    config = RunConfig(broadcast_format="int8", broadcast_error_feedback=True)
    values = model(configuration("fedavg"))
    _, _, lost = BroadcastResiduals().sent(config, WHOLE, values)
    known = BroadcastResiduals({WHOLE.digest: lost})
    assert {key.split(".")[0] for key in known.state()} == {WHOLE.digest.hex()}
    read = BroadcastResiduals.load(known.state())
    assert read.by_part.keys() == {WHOLE.digest}
    assert read.by_part[WHOLE.digest].keys() == values.keys()
    for key, array in lost.items():
        np.testing.assert_array_equal(read.by_part[WHOLE.digest][key], array)
    assert BroadcastResiduals.load({}).state() == {}


def test_in_float32_nothing_is_encoded() -> None:
    values = model(configuration("fedavg"))
    broadcast, base, lost = BroadcastResiduals().sent(RunConfig(), WHOLE, values)
    assert (broadcast.format, broadcast.arrays, lost) == ("float32", None, {})
    assert base is values


def test_a_clients_change_is_put_on_what_the_server_holds() -> None:
    values = model(configuration("fedavg"))
    base = CODECS["int8"].decode(CODECS["int8"].encode(values))
    moved = rebased({key: array + np.float32(0.25) for key, array in base.items()}, base, values)
    for key, array in values.items():
        np.testing.assert_allclose(moved[key], array + 0.25, rtol=0, atol=1e-7)
    same = rebased(base, base, values)
    for key, array in values.items():
        assert same[key].tobytes() == array.tobytes()


def test_a_factored_change_is_put_on_what_the_server_holds() -> None:
    values = model(configuration("fedavg"))
    base = CODECS["int8"].decode(CODECS["int8"].encode(values))
    rng = np.random.default_rng(0)
    gradients, inputs = rng.normal(size=(2, 9)).astype(np.float32), rng.normal(size=(2, 6)).astype(np.float32)
    weight = FactoredWeight(base["hidden.0.weight"], gradients, inputs, ArrayOps(), 100.0)
    moved = rebased({**base, "hidden.0.weight": weight}, base, values)
    assert isinstance(moved["hidden.0.weight"], FactoredWeight)
    expected = values["hidden.0.weight"] + gradients.T @ inputs
    np.testing.assert_allclose(np.asarray(moved["hidden.0.weight"]), expected, rtol=0, atol=1e-6)


def test_a_change_beyond_float32_is_refused() -> None:
    values = {
        key: np.full(spec.shape, 3e38, np.float32) for key, spec in network(configuration("fedavg")).model.items()
    }
    base = {key: np.zeros_like(array) for key, array in values.items()}
    with pytest.raises(
        ValueError, match=r"hidden\.0\.weight holds values that are not finite once the update is added"
    ):
        rebased(values, base, values)


def test_plans_of_rules_with_memory_are_not_gone_through() -> None:
    config = configuration("ist", **ON, capacities="1")
    rule = assignment_rule(config)

    class Remembering(type(rule)):
        planned = False

    check_broadcast_feedback(config, Remembering(**vars(rule)), cohort(config))
    with pytest.raises(InputError):
        check_broadcast_feedback(config, replace(rule), cohort(config))
