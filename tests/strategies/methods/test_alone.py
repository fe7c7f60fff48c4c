"""Each client alone: central training on its own images, step for step; nothing is averaged, nothing is sent."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord
from flwr.clientapp import ClientApp
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from experiments.__main__ import main
from fl_sparse.config import RunConfig, from_mapping, to_mapping
from fl_sparse.config.text import parse_override
from fl_sparse.errors import InputError
from fl_sparse.features.statistics import FeatureStatistics, Standardizer
from fl_sparse.federation import held_out_tables, standardized
from fl_sparse.learn.learner import ClientJob, FeatureRows, train_in_turn
from fl_sparse.learn.mlp_stack.learner import MLPLearner
from fl_sparse.learn.mlp_stack.predict import predict
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.model.own_models import joined, models_of, separated
from fl_sparse.model.parameters import ParameterSpec
from fl_sparse.rng import Purpose
from fl_sparse.wire import ClientDescription, array_record, parameters_of
from fl_sparse.wire.replies import reply_to
from server.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from server.evaluation import Examination
from server.flower_private import identify_process
from server.in_process_grid import FIRST_NODE_ID, InProcessGrid
from server.progress import PlainWatcher
from strategies.registry import assignment_rule, check_distributed, flower_strategy
from strategies.round.memory import check_round_memory
from tests import reference
from tests.strategies.cohort_of_five import (
    FIRST_NODE,
    aggregate,
    answer,
    ask,
    by_node,
    configuration,
    description,
    model,
    network,
)
from tests.strategies.golden import CLASSES, CLIENTS, FEATURES, made_up_data

SMALL = ["hidden-widths=12,10", "num-server-rounds=4", "local-steps=3", "batch-size=16"]


def run(encoder: str, out: Path, name: str, *more: str) -> Path:
    keys = [part for text in [f"encoder={encoder}", *SMALL, *more] for part in ("-c", text)]
    assert main(["run", *keys, "--out", str(out), "--name", name]) == 0
    return out / name


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_same_models(one: Path, other: Path) -> None:
    left, right = load_file(one), load_file(other)
    assert left.keys() == right.keys()
    for name, values in left.items():
        np.testing.assert_array_equal(values, right[name], err_msg=name)


@pytest.mark.parametrize("more", [["optimizer=adam"], ["optimizer=sgd", "momentum=0.9", "proximal=0.1"]], ids=str)
def test_one_client_alone_is_one_client_of_fedavg_bit_for_bit(more, tiny_encoder: str, tmp_path: Path) -> None:
    alone = run(tiny_encoder, tmp_path, "alone", "strategy=alone", "num-clients=1", *more)
    fedavg = run(tiny_encoder, tmp_path, "fedavg", "strategy=fedavg", "num-clients=1", *more)
    assert_same_models(alone / "models" / "client-0.safetensors", fedavg / "model.safetensors")
    for one, other in zip(records(alone), records(fedavg), strict=True):
        same = set(one) - {"seconds"} - ({"bytes_down", "bytes_up"} if one["round"] else set())
        assert {key: one[key] for key in same} == {key: other[key] for key in same}
        assert one["round"] == 0 or one["bytes_down"] == one["bytes_up"] == 0 < other["bytes_up"]


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_every_client_trains_as_by_autograd_on_its_own_images(name: str) -> None:
    rate = 0.003 if name == "adam" else 0.05
    config = RunConfig(strategy="alone", hidden_widths="9,7", local_steps=4, batch_size=8, optimizer=name)
    config = from_mapping(to_mapping(config) | {"learning-rate": rate}, source="test")
    features, labels, parts = made_up_data()

    def train(addressed):
        jobs = [ClientJob(to.order.job, to.client, parts[to.client], to.group) for to in addressed]
        results = train_in_turn(MLPLearner(), jobs, FeatureRows(features, labels))
        return [reply_to(to.order, result, None)[0] for to, result in zip(addressed, results, strict=True)]

    nothing = FeatureStatistics(0, np.zeros(FEATURES), np.zeros(FEATURES))
    described = {
        FIRST_NODE_ID + k: ClientDescription(k, len(part), FEATURES, ("a", "b", "c"), 1.0, nothing, "")
        for k, part in enumerate(parts)
    }
    grid = InProcessGrid(ClientApp(), to_mapping(config), CLIENTS, train)
    spec = MLPSpec(FEATURES, config.widths, CLASSES)
    made = flower_strategy(config, assignment_rule(config), spec, described, None)
    start = init_parameters(spec, config.seed)
    arrays = array_record(made.initial(start))
    for number in (1, 2, 3):
        replies = grid.send_and_receive(list(made.configure_train(number, arrays, ConfigRecord(), grid)))
        arrays, _ = made.aggregate_train(number, replies)
        assert arrays is not None
        assert made.report.bytes_down == made.report.bytes_up == 0
        assert made.report.flops_per_client > 0
    trained = separated(parameters_of(arrays))
    assert list(trained) == list(range(CLIENTS))

    for client, part in enumerate(parts):

        def order(epoch: int, client=client, part=part) -> np.ndarray:
            return np.random.default_rng([int(Purpose.BATCH), config.seed, client, epoch]).permutation(len(part))

        values = {key: array.astype(np.float64) for key, array in start.items()}
        for number in (0, 1, 2):
            taken = reference.batches(len(part), 8, range(number * 4, number * 4 + 4), order)
            rows = np.full((4, 8), -1)
            for step, batch in enumerate(taken):
                rows[step, : len(batch)] = part[batch]
            values, _ = reference.train(
                values, (1.0, 1.0, 1.0), features, labels, rows, OptimizerSpec(name, rate), spec
            )
        for key, expected in values.items():
            moved = np.abs(expected - start[key]).max()
            np.testing.assert_allclose(trained[client][key], expected, rtol=0, atol=2e-3 * moved, err_msg=key)


def test_a_bad_or_missing_reply_leaves_its_own_client_where_it_was() -> None:
    config = configuration("alone")
    identify_process(1, 1)
    made = flower_strategy(config, assignment_rule(config), network(config), by_node(config), None)
    start = made.initial(model(config))
    messages = ask(made, start)
    replies = [answer(message, 0.5) for message in messages]
    replies[2] = answer(messages[2], 0.5, round=7)
    del replies[0]
    after = separated(aggregate(made, replies))
    assert (made.report.answered, made.report.refused, made.report.lost) == (4, 1, 1)
    for client, before in separated(start).items():
        for name, values in before.items():
            np.testing.assert_array_equal(after[client][name], values if client in (0, 2) else values + 0.5)


def test_a_rounds_accuracy_is_the_mean_over_the_models(tiny_encoder: str, tmp_path: Path) -> None:
    folder = run(tiny_encoder, tmp_path, "alone", "strategy=alone", "num-clients=3", "partition=dirichlet")
    assert not (folder / "model.safetensors").exists()
    files = sorted((folder / "models").iterdir())
    assert [file.name for file in files] == [f"client-{k}.safetensors" for k in range(3)]
    keys = [f"encoder={tiny_encoder}", *SMALL, "strategy=alone", "num-clients=3", "partition=dirichlet"]
    tables = held_out_tables(from_mapping(dict(parse_override(text) for text in keys), source="test"), 3, print)
    found: dict[str, list[float]] = {"validation": [], "test": []}
    for file in files:
        values = load_file(file)
        scale = Standardizer(values.pop("standardizer.mean"), values.pop("standardizer.inverse_std"))
        spec = MLPSpec.of_parameters(values)
        for name, table in (("validation", tables.validation), ("test", tables.test)):
            answers = predict(values, spec, standardized(table, scale)).argmax(axis=1)
            found[name].append(float((answers == table.labels).mean()))
    assert len(set(found["test"])) > 1
    last = records(folder)[-1]
    for name, accuracies in found.items():
        assert last[f"{name}_accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-9)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["bytes_down"] == records(folder)[0]["bytes_down"] > 0
    assert len(set(summary["client_accuracy"]["accuracy"])) == 3


def test_a_run_that_was_stopped_goes_on_exactly(tiny_encoder: str, tmp_path: Path, monkeypatch) -> None:
    more = ["strategy=alone", "num-clients=3", "clients-per-round=2", "dropout-probability=0.3"]
    whole = run(tiny_encoder, tmp_path, "whole", *more)

    def interrupt(self, record, total) -> None:
        if record.round == 2:
            raise KeyboardInterrupt

    keys = [part for text in [f"encoder={tiny_encoder}", *SMALL, *more] for part in ("-c", text)]
    with monkeypatch.context() as patch:
        patch.setattr(PlainWatcher, "round", interrupt)
        assert main(["run", *keys, "--out", str(tmp_path), "--name", "cut"]) == 130
    assert not (tmp_path / "cut" / "models").exists()
    assert main(["run", "--resume", str(tmp_path / "cut")]) == 0
    for client in range(3):
        file = f"models/client-{client}.safetensors"
        assert_same_models(whole / file, tmp_path / "cut" / file)


def test_clients_evaluate_their_own_models(tiny_encoder: str, tmp_path: Path) -> None:
    more = ["num-clients=1", "evaluate=clients"]
    alone = run(tiny_encoder, tmp_path, "alone", "strategy=alone", *more)
    fedavg = run(tiny_encoder, tmp_path, "fedavg", "strategy=fedavg", *more)
    for one, other in zip(records(alone)[1:], records(fedavg)[1:], strict=True):
        assert one["clients_accuracy"] == other["clients_accuracy"] is not None
        assert one["bytes_down"] == 0 < other["bytes_down"]


def test_the_clock_counts_computing_alone(tiny_encoder: str, tmp_path: Path) -> None:
    more = ["num-clients=3", "device-profiles=phone", "evaluate=clients"]
    alone = records(run(tiny_encoder, tmp_path, "alone", "strategy=alone", *more))
    fedavg = records(run(tiny_encoder, tmp_path, "fedavg", "strategy=fedavg", *more))
    for one, other in zip(alone[1:], fedavg[1:], strict=True):
        assert 0 < one["simulated_seconds"] < other["simulated_seconds"]


def test_it_is_a_cell_of_a_comparison(tiny_encoder: str, tmp_path: Path) -> None:
    keys = [f"encoder={tiny_encoder}", "dataset=digits", "num-server-rounds=2", "local-steps=2", "hidden-widths=8,8"]
    overrides = [part for text in keys for part in ("-c", text)]
    recipes = ["baselines/alone", "baselines/central"]
    assert main(["compare", *recipes, *overrides, "--seeds", "2", "--out", str(tmp_path / "grid")]) == 0
    with (tmp_path / "grid" / "summary.csv").open() as stream:
        rows = {row["recipe"]: row for row in csv.DictReader(stream)}
    assert set(rows) == set(recipes)
    assert float(rows["baselines/alone"]["accuracy_mean"]) > 0
    assert float(rows["baselines/alone"]["bytes_up"]) < float(rows["baselines/central"]["bytes_up"])
    assert "baselines/alone" in (tmp_path / "grid" / "report.html").read_text()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"server_optimizer": "adam"}, "server-optimizer = 'adam': clients exchange nothing"),
        ({"server_learning_rate": 0.5}, "server-learning-rate = 0.5"),
        ({"bias_updates": "drop"}, "bias-updates = 'drop'"),
        ({"update_format": "int8"}, "update-format = 'int8'"),
        ({"optimizer_state": "kept"}, "optimizer-state = 'kept'"),
        ({"device_profiles": "phone", "round_deadline": 1.0}, "round-deadline = 1.0"),
        ({"init": "ridge"}, "init = 'ridge'"),
        ({"num_subnets": 2}, "num-subnets = 2"),
    ],
    ids=str,
)
def test_what_needs_an_exchange_is_refused(changes: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        assignment_rule(RunConfig(strategy="alone", **changes))


def test_other_processes_are_refused_before_anything_starts(tmp_path: Path, capsys) -> None:
    arguments = ["run", "-c", "strategy=alone", "--backend", "ray", "--out", str(tmp_path / "runs")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "strategy = 'alone' sends no weights, and is simulated in one process only" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()
    check_distributed(RunConfig(strategy="fedavg"))


def test_a_client_that_cannot_hold_the_model_is_named(tiny_encoder: str, capsys, tmp_path: Path) -> None:
    keys = [f"encoder={tiny_encoder}", "strategy=alone", "capacities=1,0.5", "num-clients=2"]
    overrides = [part for text in keys for part in ("-c", text)]
    assert main(["run", *overrides, "--out", str(tmp_path / "runs")]) == 2
    assert "client 1: capacity = 0.5 is too small" in capsys.readouterr().err


def test_more_models_than_memory_are_refused() -> None:
    config = RunConfig(strategy="alone", hidden_widths="none")
    rule = assignment_rule(config)
    whole = {"output.weight": ParameterSpec((1000, 1500), ("classes", "features"))}
    clients = {FIRST_NODE + client: description(client) for client in range(1001)}
    some = dict(list(clients.items())[:1000])
    check_round_memory(config, rule, some, whole, streamed=True, available=24_000_000_000)
    check_round_memory(config, rule, clients, whole, streamed=True, available=None)
    with pytest.raises(InputError, match=r"keeps 1001 models of 6 MB, which take about 24 GB .*; 24 GB are available"):
        check_round_memory(config, rule, clients, whole, streamed=True, available=24_000_000_000)


@given(st.dictionaries(st.integers(0, 10**6), st.dictionaries(st.text(min_size=1), st.integers(), min_size=1)))
def test_models_put_together_come_apart_again(models: dict) -> None:
    assert separated(joined(models)) == models
    assert list(separated(joined(models))) == sorted(models)
    assert models_of(joined(models)) == [models[client] for client in sorted(models)] or not models


def test_a_checkpoint_gives_every_client_its_own_model_back(tmp_path: Path) -> None:
    """A file sorts names as text, 10 before 2; scores and models by client go by the order of the clients."""
    spec = MLPSpec(4, (3,), 12)
    models = {client: init_parameters(spec, client) for client in range(12)}
    for client, weights in models.items():
        weights["output.bias"][client] = 100.0  # client k's model says k
    saved = save_checkpoint(tmp_path, Checkpoint(1, joined(models), None, tuple("abcdefghijkl")))
    parameters = load_checkpoint(saved).parameters
    assert list(separated(parameters)) == list(range(12))
    examine = Examination(spec, {"test": (np.zeros((12, 4), np.float32), np.arange(12))})
    np.testing.assert_array_equal(examine(parameters)["test"].correct_by_class, np.eye(12))


def test_a_single_model_is_one() -> None:
    weights = init_parameters(MLPSpec(3, (2,), 2), 0)
    assert separated(weights) == {}
    assert models_of(weights) == [weights]
