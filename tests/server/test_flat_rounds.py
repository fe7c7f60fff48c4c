"""What a round costs does not grow: with the rounds before, with the population, nor, in kernels, with the cohort."""

import gc
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message

from client.app import app, train
from fl_sparse.array_ops import ArrayOps, TorchOps
from fl_sparse.config import RunConfig, to_mapping
from fl_sparse.features.statistics import Standardizer
from fl_sparse.learn.learner import train_in_turn
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.wire import LazyArray, array_record, content_of_refusal, parameters_of, read_order
from server import cohort as cohort_module
from server import in_process_grid
from server.cohort import Cohort
from server.in_process_grid import InProcessGrid
from server.run_folder import create_run_folder
from server.simulation import ClientSide, simulate_table
from strategies.registry import assignment_rule
from strategies.round.strategy import SubmodelStrategy
from tests.kernels import kernels_of
from tests.server.made_up_table import CLASSES, held_out, training

WIDTH = 6
# All begin with the same weights, and their factors are smaller.
SHARED = {
    "strategy": "fedavg",
    "num_subnets": 4,
    "hidden_widths": "40,30",
    "optimizer": "sgd",
    "local_steps": 1,
    "batch_size": 2,
}


class Federation:
    """A strategy over the in-process grid, round by round."""

    def __init__(self, population: int, clients_per_round: int, ops: ArrayOps | None = None, **keys) -> None:
        self.config = RunConfig(
            encoder="made-up",
            partition="bootstrap",
            images_per_client=4,
            num_clients=population,
            clients_per_round=clients_per_round,
            **{"hidden_widths": "12,10", "num_subnets": 3, "local_steps": 2, "batch_size": 4} | keys,
        )
        made = training(self.config, population)
        cohort = Cohort(self.config, made, ops or ArrayOps())
        self.grid = InProcessGrid(app, to_mapping(self.config), population, cohort, cohort.population)
        everyone = self.grid.population()
        assert everyone is not None
        standardizer = Standardizer.of(everyone.statistics())
        network = MLPSpec(WIDTH, self.config.widths, len(CLASSES))
        self.strategy = SubmodelStrategy(self.config, assignment_rule(self.config), network, everyone, standardizer)
        self.arrays = array_record(init_parameters(network, 0))
        self.number = 0

    def round(self) -> None:
        self.number += 1
        messages = list(self.strategy.configure_train(self.number, self.arrays, ConfigRecord(), self.grid))
        arrays, _ = self.strategy.aggregate_train(self.number, self.grid.send_and_receive(messages))
        assert arrays is not None
        self.arrays = arrays


@pytest.mark.parametrize("keys", [{}, SHARED], ids=["copies", "factors"])
def test_nothing_grows_from_round_to_round(keys: dict) -> None:
    federation = Federation(population=12, clients_per_round=8, **keys)
    for _ in range(60):  # all clients have been asked, and what is remembered of past rounds is at its bounds
        federation.round()

    def held() -> tuple[Counter, int]:
        gc.collect()
        arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
        traces = tracemalloc.take_snapshot().filter_traces([arrays]).traces
        return Counter(type(thing).__name__ for thing in gc.get_objects()), sum(trace.size for trace in traces)

    tracemalloc.start()
    try:
        held()  # counting leaves something behind, too
        federation.round()
        objects, array_bytes = held()
        for _ in range(20):
            federation.round()
        later, later_bytes = held()
    finally:
        tracemalloc.stop()
    assert not {name: later[name] - objects[name] for name in later if later[name] > objects[name] + 15}
    # Had twenty global models of 1.2 kB been kept, or the replies that made them, it would be more.
    assert array_bytes > 0
    assert later_bytes - array_bytes < 10_000


def test_a_round_asks_the_population_for_nobody_but_its_cohort(monkeypatch) -> None:
    federation = Federation(population=5000, clients_per_round=10)
    federation.round()
    described: list[int] = []
    everyone = type(federation.strategy.clients)
    plain = everyone.__getitem__

    def counted(self, node: int):
        described.append(node)
        return plain(self, node)

    monkeypatch.setattr(everyone, "__getitem__", counted)
    federation.round()
    assert 10 <= len(described) <= 100
    assert len(set(described)) == 10


def test_a_rounds_kernels_do_not_grow_with_its_clients() -> None:
    def launched(clients: int, **keys) -> int:
        federation = Federation(population=50, clients_per_round=clients, ops=TorchOps(), **keys)
        federation.round()
        return kernels_of(federation.round)

    assert launched(40, num_subnets=1) == launched(4, num_subnets=1)
    assert launched(40, **SHARED) == launched(8, **SHARED)


def test_weights_reach_training_and_come_back_without_a_copy(monkeypatch) -> None:
    federation = Federation(population=8, clients_per_round=0, strategy="fedavg", num_subnets=4)
    sent, returned = [], []

    def watched(learner, jobs, table):
        sent.extend(job.job.part.parameters["hidden.0.weight"] for job in jobs)
        for trained in train_in_turn(learner, jobs, table):
            returned.append(trained.parameters["hidden.0.weight"])
            yield trained

    monkeypatch.setattr(cohort_module, "train_in_turn", watched)
    whole = parameters_of(federation.arrays)["hidden.0.weight"]
    messages = list(federation.strategy.configure_train(1, federation.arrays, ConfigRecord(), federation.grid))
    replies = list(federation.grid.send_and_receive(messages))
    assert len(sent) == len(replies) == 8
    assert all(np.shares_memory(values, whole) for values in sent)
    for reply, values in zip(replies, returned, strict=True):
        assert np.shares_memory(parameters_of(reply.content["arrays"])["hidden.0.weight"], values)
    # A stack is one array, of which each reply is a part.
    assert len({id(values.base) for values in returned}) == 1


def test_clients_that_train_the_same_subnet_are_sent_the_same_memory() -> None:
    federation = Federation(population=30, clients_per_round=12)
    messages = list(federation.strategy.configure_train(1, federation.arrays, ConfigRecord(), federation.grid))
    parts = [parameters_of(message.content["arrays"])["hidden.1.weight"] for message in messages]
    assert len({values.ctypes.data for values in parts}) == 3


@pytest.mark.parametrize("strategy", ["fedavg", "ist", "federated-dropout", "heterofl"])
def test_a_cohort_in_parts_is_the_cohort_at_once(strategy: str) -> None:
    def final(stack_bytes: int) -> dict[str, np.ndarray]:
        ops = ArrayOps()
        ops.stack_bytes = stack_bytes
        keys = {"optimizer": "sgd", "strategy": strategy, "num_subnets": 3 if strategy == "ist" else 4}
        if strategy in ("federated-dropout", "heterofl"):
            keys["capacities"] = "1,0.5"
        federation = Federation(20, 0, ops, **keys)
        for _ in range(3):
            federation.round()
        return parameters_of(federation.arrays)

    parts, once = final(10_000), final(10**9)
    assert final(10_000).keys() == parts.keys()
    for name, values in final(10_000).items():
        assert values.tobytes() == parts[name].tobytes(), name
        np.testing.assert_allclose(values, once[name], rtol=1e-5, atol=1e-6)


def test_a_population_runs_from_the_first_question_to_the_last_picture(tmp_path: Path) -> None:
    left_alone: list[int] = []

    class Watcher:
        def note(self, text: str) -> None: ...
        def round(self, record, total: int) -> None:
            left_alone.append(gc.get_freeze_count())

    config = RunConfig(
        encoder="made-up",
        partition="bootstrap",
        images_per_client=3,
        num_clients=3000,
        clients_per_round=25,
        hidden_widths="12",
        num_server_rounds=3,
        local_steps=1,
    )
    made = training(config, 3000)
    summary = simulate_table(
        config,
        made,
        lambda count: held_out(made),
        lambda: create_run_folder(tmp_path / "run", config),
        ClientSide(app, train, ArrayOps()),
        Watcher(),
    )
    assert summary["asked"] == 3000 + 3 * 25
    assert (tmp_path / "run" / "split.png").exists()
    # Modules are left out of the search for garbage while rounds run, and no longer.
    assert len(left_alone) == 4
    assert min(left_alone) > 10_000
    assert gc.get_freeze_count() == 0


def test_clients_who_are_told_the_same_are_told_once(monkeypatch) -> None:
    federation = Federation(population=12, clients_per_round=12, strategy="ist", num_subnets=3)
    read = []

    def counted(content):
        read.append(content)
        return read_order(content)

    monkeypatch.setattr(in_process_grid, "read_order", counted)
    federation.round()
    federation.round()
    assert len(read) == 2 * 3


def test_what_a_node_does_to_its_message_reaches_no_other() -> None:
    federation = Federation(population=3, clients_per_round=0, strategy="fedavg", num_subnets=4)
    messages = list(federation.strategy.configure_train(1, federation.arrays, ConfigRecord(), federation.grid))
    assert len({id(message.content) for message in messages}) == 1
    content, seen = messages[0].content, []
    order = read_order(content)
    part = order.job.part
    told = 1, list(part.scales), part.parameters["output.bias"].tolist(), sorted(part.parameters)

    def careless(message, context):
        config, bias = message.content["config"], message.content["arrays"]["output.bias"]
        seen.append((config["round"], list(config["scales"]), bias.numpy().tolist(), sorted(message.content["arrays"])))
        config["round"] = 99
        config["scales"][0] = 99.0
        bias.data = LazyArray(np.full(3, 7, dtype=np.float32)).data
        del message.content["arrays"]["output.bias"]
        message.content["more"] = ConfigRecord()
        return Message(content_of_refusal("no"), reply_to=message)

    grid = InProcessGrid(careless, {}, 3, None)
    assert len(list(grid.send_and_receive(messages))) == 3
    assert seen == [told] * 3
    assert "output.bias" in content["arrays"]
    assert set(content) == {"arrays", "config"}
