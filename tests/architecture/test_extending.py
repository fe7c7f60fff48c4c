"""What docs/extending.md shows works as it stands there: a model and a codec, each in under 40 lines."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord
from flwr.clientapp import ClientApp

from experiments.__main__ import main
from fl_sparse.codec import CODECS
from fl_sparse.config import RunConfig, to_mapping
from fl_sparse.features.statistics import FeatureStatistics
from fl_sparse.learn.learner import ClientJob, FeatureRows, train_in_turn
from fl_sparse.learn.network_stack.learner import NetworkLearner
from fl_sparse.model.parameters import ParameterSpec, axis_sizes
from fl_sparse.wire import ClientDescription, array_record, parameters_of
from fl_sparse.wire.replies import reply_to
from server.in_process_grid import FIRST_NODE_ID, InProcessGrid
from strategies.methods.ist import IST
from strategies.round.strategy import SubmodelStrategy

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
MODEL, WIRING, CODEC, CODEC_LINE = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
CLIENTS, FEATURES, CLASSES = 8, 6, 3


@pytest.mark.parametrize("code", [MODEL, CODEC])
def test_each_is_short(code: str) -> None:
    assert 5 < len(code.strip().splitlines()) < 40


def page_names(*blocks: str) -> SimpleNamespace:
    names = {
        "dataclass": dataclass,
        "ParameterSpec": ParameterSpec,
        "torch": torch,
        "np": np,
        "IST": IST,
        "NetworkLearner": NetworkLearner,
        "__name__": "tests.architecture.test_extending",
    }
    for block in blocks:
        exec(compile(block, "docs/extending.md", "exec"), names)
    return SimpleNamespace(**names)


def clouds() -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    labels = np.arange(240) % CLASSES
    features = rng.normal(size=(240, FEATURES)) + 2.0 * np.eye(CLASSES, FEATURES)[labels]
    return features.astype(np.float32), labels, np.array_split(rng.permutation(240), CLIENTS)


def initial(model, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.3, spec.shape).astype(np.float32) for name, spec in model.items()}


def test_a_model_of_two_branches_is_trained_in_subnets() -> None:
    page = page_names(MODEL, WIRING)
    network, learner = page.network, page.learner
    assert axis_sizes(network.model) == {**network.shared_axes, "features": FEATURES, "classes": CLASSES}
    features, labels, parts = clouds()
    config = RunConfig(local_steps=5, batch_size=10, learning_rate=0.01, num_server_rounds=30)

    def train(addressed):
        jobs = [ClientJob(to.order.job, to.client, parts[to.client], to.group) for to in addressed]
        trained = train_in_turn(learner, jobs, FeatureRows(features, labels))
        return (reply_to(to.order, done, None)[0] for to, done in zip(addressed, trained, strict=True))

    grid = InProcessGrid(ClientApp(), to_mapping(config), CLIENTS, train)
    nothing = FeatureStatistics(0, np.zeros(FEATURES), np.zeros(FEATURES))
    described = {
        FIRST_NODE_ID + k: ClientDescription(k, len(rows), FEATURES, ("a", "b", "c"), 1.0, nothing, "")
        for k, rows in enumerate(parts)
    }
    strategy = SubmodelStrategy(config, page.rule, network, described, None)
    weights = initial(network.model)
    for number in range(1, 31):
        messages = list(strategy.configure_train(number, array_record(weights), ConfigRecord(), grid))
        arrays, _ = strategy.aggregate_train(number, grid.send_and_receive(messages))
        assert arrays is not None
        assert strategy.report.refused == strategy.report.lost == 0
        # Four subnets of 12 and 8 units hold a quarter of either branch each.
        assert strategy.report.weights_held * 4 == sum(values.size for values in weights.values())
        weights = parameters_of(arrays)
    stacked = {name: torch.from_numpy(values)[None] for name, values in weights.items()}
    logits = page.StackedBranches().forward(network, stacked, torch.from_numpy(features)[None], (1.0, 1.0, 1.0))
    assert (logits[0].argmax(dim=1).numpy() == labels).mean() > 0.85


def test_a_codec_goes_both_ways(monkeypatch, tiny_encoder: str, tmp_path: Path) -> None:
    page = page_names(CODEC)
    ((name, codec),) = eval(f"{{{CODEC_LINE}}}", vars(page)).items()
    monkeypatch.setitem(CODECS, name, codec)  # type: ignore[arg-type]
    keys = [f"encoder={tiny_encoder}", "strategy=fedavg", "num-server-rounds=3", "local-steps=2", "hidden-widths=400"]
    sizes = {}
    for chosen in ("float32", name):
        more = [f"update-format={chosen}", f"broadcast-format={chosen}"]
        more += ["error-feedback=true", "broadcast-error-feedback=true"] if chosen == name else []
        extra = [part for key in keys + more for part in ("-c", key)]
        assert main(["run", *extra, "--out", str(tmp_path), "--name", chosen]) == 0
        records = (tmp_path / chosen / "metrics.jsonl").read_text().splitlines()
        sizes[chosen] = [json.loads(records[2])[key] for key in ("bytes_down", "bytes_up", "refused")]
    assert sizes[name][2] == 0
    for half, full in zip(sizes[name][:2], sizes["float32"][:2], strict=True):
        assert 0.45 < half / full < 0.7
