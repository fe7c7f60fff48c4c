"""Closed forms as strategies: what all images together give, in one round, as an ordinary model."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestCentroid

from experiments.__main__ import main
from experiments.closed_form import fit
from fl_sparse.config import RunConfig, from_mapping
from fl_sparse.config.text import parse_override
from fl_sparse.errors import InputError
from fl_sparse.federation import held_out_tables, training_table
from fl_sparse.learn.closed_form import PENALTIES, gram_flops, gram_of
from fl_sparse.learn.mlp_stack.predict import predict
from fl_sparse.model.mlp import MLPSpec
from server.progress import PlainWatcher
from strategies.registry import assignment_rule

CLOSED_FORMS = ("ridge", "class-mean")


def overrides(encoder: str, *more: str) -> list[str]:
    return [part for text in [f"encoder={encoder}", *more] for part in ("-c", text)]


def run(encoder: str, out: Path, name: str, *more: str) -> Path:
    assert main(["run", *overrides(encoder, *more), "--out", str(out), "--name", name]) == 0
    return out / name


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def configuration(encoder: str, *more: str) -> RunConfig:
    return from_mapping(dict(parse_override(text) for text in [f"encoder={encoder}", *more]), source="test")


@pytest.mark.parametrize("partition", ["iid", "dirichlet"])
def test_they_are_the_closed_forms_of_all_images_together(partition: str, tiny_encoder: str, tmp_path: Path) -> None:
    keys = ["num-clients=3", f"partition={partition}"]
    expected = fit(configuration(tiny_encoder, *keys))
    test_images = len(held_out_tables(configuration(tiny_encoder, *keys), 3, print).test.labels)
    for strategy, key in zip(CLOSED_FORMS, ("ridge", "class_mean"), strict=True):
        folder = run(tiny_encoder, tmp_path, strategy, f"strategy={strategy}", *keys)
        summary = json.loads((folder / "summary.json").read_text())
        # The model is float32, the command's solution float64: an image on a border may fall to the other side.
        assert summary["accuracy"] == pytest.approx(expected[key], abs=1.5 / test_images)
        assert (summary["rounds"], summary["chosen_round"], summary["refused"], summary["lost"]) == (1, 1, 0, 0)


def test_their_models_are_scikit_learns(tiny_encoder: str, tmp_path: Path) -> None:
    keys = ["num-clients=3", "mask-schedule=resampled", "mask-views=2"]
    training = training_table(configuration(tiny_encoder, *keys), 3)
    rows = np.concatenate(training.parts)
    features = training.table.features[:, rows].reshape(2 * len(rows), -1).astype(np.float64)
    labels = np.tile(training.table.labels[rows], 2)
    features = (features - features.mean(axis=0)) / np.sqrt(np.maximum(features.var(axis=0), 1e-6))

    made = load_file(
        run(tiny_encoder, tmp_path, "ridge", "strategy=ridge", "ridge-penalty=7", *keys) / "model.safetensors"
    )
    expected = Ridge(alpha=7.0).fit(features, np.eye(10)[labels])
    np.testing.assert_allclose(made["output.weight"], 10 * expected.coef_, atol=2e-4)
    np.testing.assert_allclose(made["output.bias"], 10 * expected.intercept_, atol=2e-4)

    made = load_file(run(tiny_encoder, tmp_path, "means", "strategy=class-mean", *keys) / "model.safetensors")
    standard = {name: made.pop(f"standardizer.{name}") for name in ("mean", "inverse_std")}
    spec = MLPSpec.of_parameters(made)
    assert spec == MLPSpec(features.shape[1], (), 10)
    assert set(standard) == {"mean", "inverse_std"}
    nearest = NearestCentroid().fit(features, labels)
    answers = predict(made, spec, features.astype(np.float32)).argmax(axis=1)
    assert (answers == nearest.predict(features)).mean() > 0.999


def test_they_send_what_they_need_once(tiny_encoder: str, tmp_path: Path) -> None:
    asked, flops = {}, {}
    for strategy in CLOSED_FORMS:
        zero, one = records(run(tiny_encoder, tmp_path, strategy, f"strategy={strategy}", "num-clients=3"))
        assert zero["asked"] == one["asked"] == one["answered"] == 3
        asked[strategy], flops[strategy] = one["bytes_up"], one["flops_per_client"]
    width = 2 * 16 + 1
    sums = 3 * 8 * width * 10
    assert sums < asked["class-mean"] < sums + 3 * 1000
    assert sums + 3 * 8 * width**2 < asked["ridge"] < sums + 3 * 8 * width**2 + 3 * 1500
    assert flops["ridge"] / flops["class-mean"] == pytest.approx((width + 10) / 10)


def test_flops_are_those_of_the_products() -> None:
    assert gram_flops(7, 4, 3) == 2 * 7 * 5 * 5 + 2 * 7 * 5 * 3
    assert gram_flops(7, 4, 3, class_sums=True) == 2 * 7 * 5 * 3


def test_class_sums_are_those_of_the_gram_matrices() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(50, 4)).astype(np.float32), rng.integers(0, 3, 50)
    whole, part = gram_of(features, labels, 3), gram_of(features, labels, 3, class_sums=True)
    np.testing.assert_array_equal(whole.labels, part.labels)
    assert part.features.shape == (0, 0)


@pytest.mark.parametrize("strategy", CLOSED_FORMS)
def test_clients_that_drop_out_are_not_in_it(strategy: str, tiny_encoder: str, tmp_path: Path) -> None:
    more = [f"strategy={strategy}", "num-clients=6", "dropout-probability=0.5", "device-profiles=phone"]
    zero, one = records(run(tiny_encoder, tmp_path, "some", *more))
    assert 0 < one["lost"] < 6
    assert one["answered"] + one["lost"] == one["asked"] == 6
    assert one["simulated_seconds"] > 0
    assert one["train_loss"] is None
    assert one["test_accuracy"] > zero["test_accuracy"]
    everybody = run(tiny_encoder, tmp_path, "all", *more, "dropout-probability=0")
    some = load_file(tmp_path / "some" / "model.safetensors")
    assert not np.array_equal(some["output.bias"], load_file(everybody / "model.safetensors")["output.bias"])


@pytest.mark.parametrize("strategy", CLOSED_FORMS)
def test_a_run_that_was_stopped_goes_on(strategy: str, tiny_encoder: str, tmp_path: Path, monkeypatch) -> None:
    def interrupt(self, record, total) -> None:
        assert total == 1
        raise KeyboardInterrupt

    more = [f"strategy={strategy}", "num-clients=3"]
    whole = run(tiny_encoder, tmp_path, "whole", *more)
    with monkeypatch.context() as patch:
        patch.setattr(PlainWatcher, "round", interrupt)
        assert main(["run", *overrides(tiny_encoder, *more), "--out", str(tmp_path), "--name", "cut"]) == 130
    assert main(["run", "--resume", str(tmp_path / "cut")]) == 0
    left, right = load_file(whole / "model.safetensors"), load_file(tmp_path / "cut" / "model.safetensors")
    for name, values in left.items():
        np.testing.assert_array_equal(values, right[name])


def test_clients_evaluate_them_too(tiny_encoder: str, tmp_path: Path) -> None:
    more = ["num-clients=2", "evaluate=clients"]
    for strategy in (["strategy=ridge", "ridge-penalty=10"], ["strategy=class-mean"]):
        folder = run(tiny_encoder, tmp_path, strategy[0], *strategy, *more)
        assert records(folder)[1]["clients_accuracy"] > 0.12


def test_they_are_cells_of_a_comparison(tiny_encoder: str, tmp_path: Path) -> None:
    recipes = [f"baselines/{name}" for name in (*CLOSED_FORMS, "linear-head", "narrow")]
    keys = overrides(tiny_encoder, "dataset=digits", "num-server-rounds=3", "hidden-widths=8,8", "evaluate-every=1")
    out = tmp_path / "grid"
    assert main(["compare", *recipes, *keys, "--out", str(out)]) == 0
    with (out / "comparison.csv").open() as stream:
        cells = {row["recipe"]: row for row in csv.DictReader(stream)}
    assert set(cells) == set(recipes)
    assert [cells[name]["rounds"] for name in recipes] == ["1", "1", "3", "3"]
    assert all(float(cell["accuracy"]) > 0 for cell in cells.values())
    page = (out / "report.html").read_text()
    assert all(name in page for name in recipes)


@pytest.mark.parametrize("strategy", CLOSED_FORMS)
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"server_optimizer": "adam"}, "server-optimizer = 'adam'"),
        ({"update_format": "int8"}, "update-format = 'int8'"),
        ({"bias_updates": "drop"}, "bias-updates = 'drop'"),
        ({"optimizer_state": "kept"}, "optimizer-state = 'kept'"),
        ({"init": "ridge"}, "init = 'ridge'"),
        ({"device_profiles": "phone", "round_deadline": 1.0}, "round-deadline = 1.0"),
    ],
    ids=str,
)
def test_what_needs_training_is_refused(strategy: str, changes: dict, words: str) -> None:
    with pytest.raises(InputError, match=f"{words}: strategy '{strategy}' trains no model"):
        assignment_rule(RunConfig(strategy=strategy, **changes))


def test_a_penalty_needs_validation_images_or_a_value() -> None:
    with pytest.raises(InputError, match=r"ridge-penalty = 0\.0 is chosen on the server's validation images"):
        assignment_rule(RunConfig(strategy="ridge", evaluate="clients"))
    assignment_rule(RunConfig(strategy="ridge", evaluate="clients", ridge_penalty=PENALTIES[0]))
    assignment_rule(RunConfig(strategy="class-mean", evaluate="clients"))


@pytest.mark.parametrize("strategy", ["class-mean", "alone", "fedavg", "ist"])
def test_a_penalty_that_nothing_reads_is_refused(strategy: str) -> None:
    with pytest.raises(InputError, match=rf"^ridge-penalty = 3\.0: strategy '{strategy}' with init = 'uniform'"):
        assignment_rule(RunConfig(strategy=strategy, ridge_penalty=3.0))


def test_a_penalty_goes_with_either_ridge() -> None:
    assignment_rule(RunConfig(strategy="ridge", ridge_penalty=3.0))
    assignment_rule(RunConfig(strategy="ist", init="ridge", ridge_penalty=3.0))


def test_a_penalty_that_nothing_reads_ends_in_one_line(tmp_path: Path, capsys) -> None:
    out = tmp_path / "runs"
    assert main(["run", "-c", "strategy=fedavg", "-c", "ridge-penalty=3", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "ridge-penalty = 3.0" in error
    assert error.count("\n") == 1
    assert not out.exists()
