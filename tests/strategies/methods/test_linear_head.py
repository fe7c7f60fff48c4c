"""A linear classifier is the MLP without a hidden layer: averaged by FedAvg, refused where layers are cut."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from experiments.__main__ import main
from fl_sparse.config import RunConfig, from_mapping
from fl_sparse.config.text import parse_override
from fl_sparse.errors import InputError
from fl_sparse.federation import training_table
from fl_sparse.model.mlp import MLPSpec, init_parameters, layer_scales
from fl_sparse.part import WHOLE, Part, PartUpdate, reassemble
from fl_sparse.rng import Purpose
from strategies.registry import assignment_rule

LINEAR = ["hidden-widths=none", "num-clients=3", "local-steps=4", "batch-size=100"]


def run(encoder: str, out: Path, name: str, *more: str) -> Path:
    keys = [part for text in [f"encoder={encoder}", *LINEAR, *more] for part in ("-c", text)]
    assert main(["run", *keys, "--out", str(out), "--name", name]) == 0
    return out / name


def test_federated_averaging_of_it_is_what_autograd_gives(tiny_encoder: str, tmp_path: Path) -> None:
    keys = [*LINEAR, "strategy=fedavg", "num-server-rounds=3", "optimizer=sgd", "learning-rate=0.05"]
    averaged = load_file(run(tiny_encoder, tmp_path, "fedavg", *keys) / "model.safetensors")

    config = from_mapping(dict(parse_override(text) for text in [f"encoder={tiny_encoder}", *keys]), source="test")
    training = training_table(config, 3)
    everything = training.table.features[0, np.concatenate(training.parts)].astype(np.float64)
    mean, std = everything.mean(axis=0), np.sqrt(np.maximum(everything.var(axis=0), 1e-6))
    start = init_parameters(MLPSpec(len(mean), (), 10), config.seed)
    weight, bias = (torch.tensor(start[f"output.{kind}"], dtype=torch.float64) for kind in ("weight", "bias"))
    for number in range(3):
        trained = []
        for client, rows in enumerate(training.parts):
            x = torch.tensor((training.table.features[0, rows] - mean) / std)
            y = torch.tensor(training.table.labels[rows])
            own = [weight.clone().requires_grad_(), bias.clone().requires_grad_()]
            for step in range(number * 4, number * 4 + 4):
                epoch, batch = divmod(step, -(-len(rows) // 100))
                order = np.random.default_rng([int(Purpose.BATCH), config.seed, client, epoch]).permutation(len(rows))
                chosen = order[batch * 100 : (batch + 1) * 100]
                loss = torch.nn.functional.cross_entropy(x[chosen] @ own[0].T + own[1], y[chosen])
                for values, gradient in zip(own, torch.autograd.grad(loss, own), strict=True):
                    values.data -= 0.05 * gradient
            trained.append([values.detach() for values in own])
        shares = torch.tensor([len(rows) / len(everything) for rows in training.parts], dtype=torch.float64)
        weight, bias = (sum(share * own[part] for share, own in zip(shares, trained, strict=True)) for part in (0, 1))
    for name, values in (("output.weight", weight), ("output.bias", bias)):
        moved = np.abs(values.numpy() - start[name]).max()
        np.testing.assert_allclose(averaged[name], values.numpy(), rtol=0, atol=1e-4 * moved, err_msg=name)


@pytest.mark.parametrize(
    "more",
    [
        ["strategy=fedprox", "proximal=0.1"],
        ["strategy=fedavg", "server-optimizer=yogi"],
        ["strategy=fedavg", "evaluate=clients", "capacities=0.5"],
        ["strategy=fedavg", "init=ridge"],
        ["strategy=ist", "num-subnets=1"],
    ],
    ids=lambda more: more[-1],
)
def test_it_runs_wherever_models_are_whole(more: list[str], tiny_encoder: str, tmp_path: Path) -> None:
    folder = run(tiny_encoder, tmp_path, "run", "num-server-rounds=2", *more)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["rounds"] == 2
    assert summary["refused"] == summary["lost"] == 0
    assert summary["flops_per_client"] > 0
    trained = {name for name in load_file(folder / "model.safetensors") if name.startswith(("hidden", "output"))}
    assert trained == {"output.weight", "output.bias"}


def test_one_subnet_of_it_is_fedavg_bit_for_bit(tiny_encoder: str, tmp_path: Path) -> None:
    one = load_file(run(tiny_encoder, tmp_path, "ist", "num-subnets=1", "num-server-rounds=2") / "model.safetensors")
    other = load_file(
        run(tiny_encoder, tmp_path, "avg", "strategy=fedavg", "num-server-rounds=2") / "model.safetensors"
    )
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name])


@pytest.mark.parametrize(
    ("strategy", "changes", "words"),
    [
        ("ist", {}, "num-subnets = 4"),
        ("ist-capacity", {}, "strategy 'ist-capacity'"),
        ("federated-dropout", {}, "strategy 'federated-dropout'"),
        ("heterofl", {}, "strategy 'heterofl'"),
        ("fjord", {}, "strategy 'fjord'"),
        ("fedrolex", {}, "strategy 'fedrolex'"),
    ],
)
def test_methods_that_cut_layers_say_that_there_is_none(strategy: str, changes: dict, words: str) -> None:
    with pytest.raises(InputError, match=f"hidden-widths = 'none' leaves {words} no layer to cut"):
        assignment_rule(RunConfig(strategy=strategy, hidden_widths="none", **changes))


@pytest.mark.parametrize("widths", ["", "0", "none,3", "None"])
def test_no_hidden_layer_is_spelt_in_one_way(widths: str) -> None:
    with pytest.raises(InputError, match="expected positive whole numbers, as in '1000,1000', or 'none'"):
        RunConfig(hidden_widths=widths)


def test_there_is_no_hidden_layer_to_normalise() -> None:
    with pytest.raises(InputError, match="has no hidden layer to normalise"):
        RunConfig(strategy="fedavg", hidden_widths="none", normalization="layer")


@pytest.mark.parametrize("rule", ["mean", "sqrt", "none"])
def test_its_only_part_is_the_whole(rule: str) -> None:
    spec = MLPSpec(5, (), 3)
    weights = init_parameters(spec, 0)
    part = Part()
    assert spec.shared_axes == {}
    assert part.digest == WHOLE.digest
    assert layer_scales((), (), rule) == (1.0,)
    cut = part.cut(spec.model, weights)
    merged, covered = reassemble(spec.model, weights, [PartUpdate(part, cut, 1.0), PartUpdate(part, cut, 2.0)])
    for name, values in weights.items():
        np.testing.assert_array_equal(cut[name], values)
        np.testing.assert_array_equal(merged[name], values)
        assert covered[name] is None
