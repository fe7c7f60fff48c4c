"""The baselines differ from IST in what their comments say, and in nothing else."""

import numpy as np
import pytest

from experiments.recipes import find_recipe
from fl_sparse.config import RunConfig, from_mapping
from fl_sparse.features.statistics import FeatureStatistics
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.wire import ClientDescription, read_order, wire_bytes
from server.flower_private import identify_process
from strategies.registry import assignment_rule
from strategies.round.strategy import SubmodelStrategy
from tests.strategies.cohort_of_five import FIRST_NODE, ask

FEATURES, CLASSES = 384, 10


def recipe(name: str) -> RunConfig:
    return from_mapping(find_recipe(f"baselines/{name}")[1], source=name)


def orders(config: RunConfig):
    """Return what each client is sent in round 1: parameter shapes and bytes."""
    identify_process(1, 1)
    nothing = FeatureStatistics(1, np.zeros(FEATURES), np.zeros(FEATURES))
    classes = tuple(map(str, range(CLASSES)))
    clients = {
        FIRST_NODE + k: ClientDescription(k, 100, FEATURES, classes, 1.0, nothing, "")
        for k in range(config.num_clients)
    }
    network = MLPSpec(FEATURES, config.widths, CLASSES)
    made = SubmodelStrategy(config, assignment_rule(config), network, clients, None)
    weights = init_parameters(network, config.seed)
    messages = ask(made, weights, order=list(clients))
    shapes = [
        {name: values.shape for name, values in read_order(message.content).job.part.parameters.items()}
        for message in messages
    ]
    return shapes, [wire_bytes(message.content) for message in messages], made.report.flops_per_client


def test_the_narrow_model_has_a_subnets_parameters_bytes_and_flops() -> None:
    subnets, narrow = orders(recipe("ist")), orders(recipe("narrow"))
    assert subnets == narrow
    assert sum(np.prod(shape) for shape in narrow[0][0].values()) == 384 * 250 + 250 + 250 * 250 + 250 + 250 * 10 + 10


@pytest.mark.parametrize("name", ["narrow", "linear-head", "alone"])
def test_they_share_all_that_is_not_the_model(name: str) -> None:
    ist, baseline = find_recipe("baselines/ist")[1], find_recipe(f"baselines/{name}")[1]
    model = {"strategy", "num-subnets", "hidden-widths"}
    assert {key: ist[key] for key in ist if key not in model} == {
        key: baseline[key] for key in baseline if key not in model
    }
