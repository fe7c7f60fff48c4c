"""Short runs of every strategy on features made up here: ``python -m tests.strategies.golden`` writes golden.json.

Run it again only when results are meant to change, and say so.
"""

import json
from pathlib import Path

import numpy as np
from flwr.app import ConfigRecord
from flwr.clientapp import ClientApp

from fl_sparse.config import RunConfig, to_mapping
from fl_sparse.features.statistics import FeatureStatistics
from fl_sparse.learn.learner import ClientJob, FeatureRows, train_in_turn
from fl_sparse.learn.mlp_stack.learner import MLPLearner
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.wire import ClientDescription, array_record, parameters_of
from fl_sparse.wire.replies import reply_to
from server.in_process_grid import FIRST_NODE_ID, InProcessGrid
from strategies.registry import STRATEGIES, assignment_rule, flower_strategy

HERE = Path(__file__).parent
CLIENTS, ROUNDS, FEATURES, CLASSES = 4, 4, 6, 3
COMMON = {"hidden_widths": "12,10", "local_steps": 5, "batch_size": 8, "learning_rate": 0.01}
SPLIT = {"capacities": "1,0.5,0.4"}
CLOSED_FORMS = ("ridge", "class-mean")
"""One-round solutions, which an independent library gives again: test_closed_form_cells.py."""
RUNS: dict[str, dict] = {
    "fedavg": {},
    "fedprox": {"proximal": 0.1},
    "federated-dropout": SPLIT,
    "heterofl": SPLIT,
    "fjord": SPLIT,
    "fjord distilled": {"self_distillation": True} | SPLIT,
    "fedrolex": SPLIT,
    "ist": {"num_subnets": 3, "clients_per_round": 3},
    "ist-capacity": {"num_subnets": 3} | SPLIT,
    "alone": {"capacities": "1", "dropout_probability": 0.3},
    "ist momentum": {"server_optimizer": "momentum", "dropout_probability": 0.3},
    "ist adam": {"server_optimizer": "adam"},
    "ist yogi": {"server_optimizer": "yogi"},
    "ist adagrad": {"server_optimizer": "adagrad"},
}


def made_up_data() -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Three clouds of 40 points, dealt to four clients of 20, 30, 30 and 40."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % CLASSES
    features = rng.normal(size=(120, FEATURES)) + 1.5 * np.eye(CLASSES, FEATURES)[labels]
    return features.astype(np.float32), labels, np.split(rng.permutation(120), [20, 50, 80])


def run(name: str) -> dict[str, list[float]]:
    """Return each round's training loss and length of all weights, as one vector."""
    config = RunConfig(strategy=name.split()[0], **(COMMON | RUNS[name]))
    features, labels, parts = made_up_data()

    def train(addressed):
        jobs = [ClientJob(to.order.job, to.client, parts[to.client], to.group) for to in addressed]
        results = train_in_turn(MLPLearner(), jobs, FeatureRows(features, labels))
        return [reply_to(to.order, result, None)[0] for to, result in zip(addressed, results, strict=True)]

    grid = InProcessGrid(ClientApp(), to_mapping(config), CLIENTS, train)
    nothing = FeatureStatistics(0, np.zeros(FEATURES), np.zeros(FEATURES))
    described = {
        FIRST_NODE_ID + k: ClientDescription(
            k, len(part), FEATURES, ("a", "b", "c"), config.capacity_of(k), nothing, ""
        )
        for k, part in enumerate(parts)
    }
    network = MLPSpec(FEATURES, config.widths, CLASSES)
    strategy = flower_strategy(config, assignment_rule(config), network, described, None)
    arrays = array_record(strategy.initial(init_parameters(network, config.seed)))
    losses, lengths = [], []
    for number in range(1, ROUNDS + 1):
        messages = list(strategy.configure_train(number, arrays, ConfigRecord(), grid))
        aggregated, _ = strategy.aggregate_train(number, grid.send_and_receive(messages))
        arrays = arrays if aggregated is None else aggregated
        losses.append(float(strategy.report.train_loss or 0.0))
        squares = sum(float((values.astype(np.float64) ** 2).sum()) for values in parameters_of(arrays).values())
        lengths.append(squares**0.5)
    return {"train-loss": losses, "length": lengths}


if __name__ == "__main__":
    assert {name.split()[0] for name in RUNS} == set(STRATEGIES) - set(CLOSED_FORMS)
    golden = {name: {key: [round(v, 6) for v in values] for key, values in run(name).items()} for name in RUNS}
    (HERE / "golden.json").write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
