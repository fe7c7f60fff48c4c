"""A model that went through a checkpoint goes on to the same bits, however clients were trained together."""

from pathlib import Path

import pytest
from flwr.app import ConfigRecord

from client.app import app
from fl_sparse.array_ops import ArrayOps, TorchOps
from fl_sparse.config import RunConfig, to_mapping
from fl_sparse.federation import remember_training_table
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.wire import array_record, parameters_of
from server.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from server.cohort import Cohort
from server.in_process_grid import InProcessGrid
from server.question import ask_nodes
from strategies.registry import assignment_rule, effective, flower_strategy
from tests.server.made_up_table import CLASSES, training

CLIENTS, ROUNDS, WIDTH = 40, 3, 50


@pytest.mark.parametrize("ops", [ArrayOps, TorchOps])
@pytest.mark.parametrize("strategy", ["fedavg", "ist", "alone"])
def test_going_on_from_a_checkpoint(strategy: str, ops: type[ArrayOps], tmp_path: Path) -> None:
    config = RunConfig(
        strategy=strategy,
        num_clients=CLIENTS,
        clients_per_round=18,
        hidden_widths="64",
        num_subnets=2 if strategy == "ist" else 4,
        local_steps=2,
        batch_size=4,
        num_server_rounds=ROUNDS,
        optimizer="sgd",
        learning_rate=0.1,
    )
    rule, config = assignment_rule(config), effective(config)
    table = training(config, CLIENTS, 400, width=WIDTH)
    remember_training_table(config, table)

    def final(cut: int | None) -> dict[str, bytes]:
        cohort = Cohort(config, table, ops())
        grid = InProcessGrid(app, to_mapping(config), CLIENTS, cohort, cohort.population)
        answers = ask_nodes(grid, list(grid.get_node_ids()), timeout=None)
        spec = MLPSpec(WIDTH, config.widths, len(CLASSES), config.activation, config.normalization)
        made = flower_strategy(config, rule, spec, answers.clients, None)
        parameters = made.initial(init_parameters(spec, 0))
        for number in range(ROUNDS):
            if number == cut:
                saved = save_checkpoint(tmp_path, Checkpoint(number, parameters, None, CLASSES))
                parameters = load_checkpoint(saved).parameters
                made = flower_strategy(config, rule, spec, answers.clients, None)
            messages = list(made.configure_train(number + 1, array_record(parameters), ConfigRecord(), grid))
            arrays, _ = made.aggregate_train(number + 1, grid.send_and_receive(messages))
            assert arrays is not None
            assert not made.report.refused
            parameters = parameters_of(arrays)
        return {name: values.tobytes() for name, values in parameters.items()}

    whole = final(None)
    for cut in range(ROUNDS):
        assert final(cut) == whole
