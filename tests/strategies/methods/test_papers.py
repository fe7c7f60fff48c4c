"""Index sets and averages as the papers define them, on a toy that `toy.py` works out in plain Python."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from fl_sparse.config import RunConfig
from fl_sparse.features.statistics import FeatureStatistics
from fl_sparse.learn.mlp_stack.predict import predict
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.model.parameters import shapes_of
from fl_sparse.part import PartUpdate, reassemble
from fl_sparse.wire import ClientDescription
from strategies.registry import assignment_rule
from strategies.round.groups import by_position
from strategies.round.orders import training_job
from tests.strategies.cohort_of_five import units

HERE = Path(__file__).parent
TOY = runpy.run_path(str(HERE / "toy.py"))
CONSTANTS = json.loads((HERE / "toy.json").read_text(encoding="utf-8"))


def test_the_program_still_makes_these_constants() -> None:
    assert TOY["constants"]() == CONSTANTS


@pytest.mark.parametrize("name", sorted(CONSTANTS))
def test_index_sets_and_averages_are_the_papers(name: str) -> None:
    shares = {"ordered_shares": "0.25,0.75,1"} if name == "fjord" else {}
    config = RunConfig(strategy=name, hidden_widths="4,4", capacities="1,0.5,0.25", seed=TOY["SEED"], **shares)
    rule = assignment_rule(config)
    nothing = FeatureStatistics(0, np.zeros(2), np.zeros(2))
    clients = [
        ClientDescription(k, examples, 2, ("a", "b"), config.capacity_of(k), nothing, "")
        for k, examples in enumerate(TOY["EXAMPLES"])
    ]
    toy = MLPSpec(TOY["INPUTS"], TOY["WIDTHS"], TOY["CLASSES"]).model
    whole = {key: np.zeros(shape, np.float32) for key, shape in shapes_of(toy).items()}
    for number, expected in enumerate(CONSTANTS[name], start=1):
        placements = [group.placement for group in by_position(rule.place(number, clients))]
        held = [[own.tolist() for own in units(place.part, TOY["WIDTHS"])] for place in placements]
        assert held == expected["units"]
        updates = [
            PartUpdate(
                place.part,
                {key: np.full_like(values, value) for key, values in place.part.cut(toy, whole).items()},
                client.num_examples if place.by_examples else 1,
            )
            for place, client, value in zip(placements, clients, TOY["ANSWERS"], strict=True)
        ]
        merged, _ = reassemble(toy, whole, updates)
        for key, values in expected["averages"].items():
            np.testing.assert_allclose(merged[key], values, rtol=1e-6, err_msg=f"round {number}, {key}")


def test_the_toys_first_round_by_hand() -> None:
    """HeteroFL holds units 0..3, 0..1 and 0; of the clients' 1, 2 and 4, plain means are 7/3, 3/2 and 1."""
    first = CONSTANTS["heterofl"][0]
    assert first["units"] == [[[0, 1, 2, 3]] * 2, [[0, 1]] * 2, [[0]] * 2]
    assert first["averages"]["hidden.1.weight"] == [[7 / 3, 1.5, 1, 1], [1.5, 1.5, 1, 1], [1] * 4, [1] * 4]
    # FedRolex in round 4 starts at unit 3: the half window wraps to {3, 0}, the quarter is {3}; weights 3, 1, 2.
    fourth = CONSTANTS["fedrolex"][3]
    assert fourth["units"] == [[[0, 1, 2, 3]] * 2, [[0, 3]] * 2, [[3]] * 2]
    assert fourth["averages"]["hidden.1.bias"] == [5 / 4, 1, 1, 13 / 6]
    # FjORD's P = {1/4, 3/4, 1} admits 1, 1/4 and 1/4: unit 0 is everybody's, the rest the first client's.
    assert CONSTANTS["fjord"][0]["units"] == [[[0, 1, 2, 3]] * 2, [[0]] * 2, [[0]] * 2]
    assert CONSTANTS["fjord"][0]["averages"]["hidden.0.bias"] == [13 / 6, 1, 1, 1]


def test_fjords_steps_draw_from_the_admitted_prefixes() -> None:
    config = RunConfig(strategy="fjord", hidden_widths="10,4", capacities="1,0.7", scale="mean")
    nothing = FeatureStatistics(0, np.zeros(2), np.zeros(2))
    clients = [ClientDescription(k, 1, 2, ("a",), config.capacity_of(k), nothing, "") for k in range(2)]
    whole, part = (group.placement for group in by_position(assignment_rule(config).place(5, clients)))
    assert whole.prefixes == ((2, 1), (4, 2), (6, 3), (8, 4), (10, 4))
    assert part.prefixes == ((2, 1), (4, 2), (6, 3))
    assert [len(own) for own in units(part.part, (10, 4))] == [6, 3]
    for placement in (whole, part):
        assert training_job(config, MLPSpec(2, (10, 4), 1), 5, placement, {}).part.scales == (1.0, 1.0, 1.0)


def test_heterofls_scaler_is_our_scale_mean_under_relu() -> None:
    """The paper divides each hidden pre-activation, bias included, by r; ours scales the next layer's input."""
    config = RunConfig(strategy="heterofl", hidden_widths="8,6", capacities="0.5")
    client = ClientDescription(0, 1, 5, ("a",), 0.5, FeatureStatistics(0, np.zeros(5), np.zeros(5)), "")
    (group,) = assignment_rule(config).place(1, [client])
    spec = MLPSpec(5, (8, 6), 3)
    part = group.placement.part.cut(spec.model, init_parameters(spec, 0))
    scales = training_job(config, spec, 1, group.placement, part).part.scales
    x = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    h = x
    for layer in range(2):
        scaled = (h @ part[f"hidden.{layer}.weight"].T + part[f"hidden.{layer}.bias"]) / 0.5
        h = np.maximum(scaled, 0)
    expected = h @ part["output.weight"].T + part["output.bias"]
    got = predict(part, MLPSpec(5, (4, 3), 3), x, scales)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
