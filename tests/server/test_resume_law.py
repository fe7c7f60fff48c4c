"""One law for all that a run can be told: killed and resumed, it leaves the bits of the run that was not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest

from fl_sparse.array_ops import ArrayOps, TorchOps
from fl_sparse.config import RunConfig
from fl_sparse.config.run_config import SERVER_OPTIMIZERS
from fl_sparse.errors import InputError
from server import rounds
from strategies.registry import STRATEGIES, assignment_rule, effective
from tests.server.killed_runs import assert_same, checkpoints, play, play_in_pieces

Keys = Mapping[str, Any]

ROUNDS = 4
SMALL: Keys = {
    "num_server_rounds": ROUNDS,
    "num_clients": 5,
    "clients_per_round": 4,
    "dropout_probability": 0.1,
    "hidden_widths": "8,6",
    "local_steps": 2,
    "batch_size": 4,
    "learning_rate": 0.01,
}
OPTIMIZERS: Sequence[Keys] = ({"optimizer": "adam"}, {"optimizer": "sgd", "momentum": 0.5})
IN_PARTS: Keys = {"capacities": "1,0.5"}
TAKEN: Mapping[str, Keys] = {
    "fedprox": {"proximal": 0.1},
    "federated-dropout": IN_PARTS,
    "heterofl": IN_PARTS,
    "fjord": IN_PARTS | {"ordered_shares": "0.5,1"},
    "fedrolex": IN_PARTS,
    "ist": {"num_subnets": 2, "repartition_every": 2},
    "ist-capacity": IN_PARTS | {"repartition_every": 2},
    "ridge": {"ridge_penalty": 1.0},
}
"""What else a strategy's runs are told, so that some client trains the same part for two rounds in a row."""
NOT_AVERAGING = ("alone", "ridge", "class-mean")
"""Strategies that average no trained models, and take none of the choices below."""

STATES: Mapping[str, Keys] = {"fresh": {}, "kept": {"optimizer_state": "kept"}}
UPDATES: Mapping[str, Keys] = {
    "float32": {},
    "bfloat16": {"update_format": "bfloat16"},
    "bfloat16, fed back": {"update_format": "bfloat16", "error_feedback": True},
    "int8": {"update_format": "int8"},
    "int8, fed back": {"update_format": "int8", "error_feedback": True},
}
BROADCASTS: Mapping[str, Keys] = {
    "float32": {},
    "bfloat16": {"broadcast_format": "bfloat16"},
    "bfloat16, fed back": {"broadcast_format": "bfloat16", "broadcast_error_feedback": True},
    "int8": {"broadcast_format": "int8"},
    "int8, fed back": {"broadcast_format": "int8", "broadcast_error_feedback": True},
}
SERVERS: Mapping[str, Keys] = {name: {"server_optimizer": name} for name in SERVER_OPTIMIZERS}
AXES = (STATES, UPDATES, BROADCASTS, SERVERS)
DEFAULTS = tuple(next(iter(axis)) for axis in AXES)
LIFE: Mapping[str, Keys] = {
    "linear term": {"strategy": "fedavg", "init": "ridge", "ridge_penalty": 1.0},
    "absent classes": {"strategy": "heterofl", "absent_classes": "masked", "optimizer_state": "kept", **IN_PARTS},
    "distilled": {"strategy": "fjord", "self_distillation": True, "server_optimizer": "momentum", **IN_PARTS},
    "clock": {"strategy": "ist", "num_subnets": 2, "device_profiles": "phone,server", "round_deadline": 1.0},
    "clients evaluate": {"strategy": "fedavg", "evaluate": "clients", "evaluate_every": 2},
    "nobody evaluates": {"strategy": "fedavg", "evaluate": "none", "update_format": "int8", "error_feedback": True},
    "layer norm": {"strategy": "ist", "num_subnets": 2, "normalization": "layer", "bias_updates": "drop"},
    "linear": {"strategy": "fedavg", "hidden_widths": "none", "update_format": "int8", "error_feedback": True},
    "not standardised": {"strategy": "fedavg", "standardize": False},
    "everyone drops out": {"strategy": "fedavg", "dropout_probability": 0.9, "server_optimizer": "adam"},
}
"""Other choices that change what a run remembers."""


def cases(place: int) -> Iterator[tuple[str, ...]]:
    """Return cases for the strategy at a place: each value of each axis; any two of two axes at some five strategies.

    Moments travel in float32 only, so that kept state is beside no other format of updates.
    """
    updates, broadcasts, servers = list(UPDATES), list(BROADCASTS), list(SERVERS)
    for row, update in enumerate(updates):
        yield "fresh", update, broadcasts[(row + place) % 5], servers[(row + 2 * place) % 5]
    for row in (2, 3):
        yield "kept", "float32", broadcasts[(row + place) % 5], servers[(row + 2 * place) % 5]


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    """Draw no pictures, and do not wait for the disk: neither is what goes on."""
    monkeypatch.setattr(rounds, "draw_accuracy", lambda *args, **keys: None)
    monkeypatch.setattr(rounds, "draw_partition", lambda *args, **keys: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def remembered(config: RunConfig) -> set[str]:
    """The names of the states that a checkpoint of the run has to hold."""
    return {
        name
        for name, held in {
            "server": config.server_optimizer != "average",
            "optimizer": config.optimizer_state == "kept",
            "residuals": config.error_feedback,
            "residual-files": config.error_feedback,
            "broadcast": config.broadcast_error_feedback,
        }.items()
        if held
    }


def hold(config: RunConfig, folder: Path, kills: Sequence[int], case: object = "", **side: Any) -> None:
    """Assert the law for a run, killed after each of some rounds."""
    play(config, folder / "whole", **side)
    play_in_pieces(config, folder / "killed", kills, **side)
    assert set(checkpoints(folder / "whole")[-1].states) == remembered(config), case
    assert_same(folder / "whole", folder / "killed", case)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_goes_on_with_every_format(strategy: str, tmp_path: Path) -> None:
    ran: list[tuple[str, ...]] = []
    place = list(STRATEGIES).index(strategy)
    for number, case in enumerate([DEFAULTS, *cases(place)]):
        folder = tmp_path / str(number)
        chosen = [axis[value] for axis, value in zip(AXES, case, strict=True)]
        keys: dict[str, Any] = {"strategy": strategy, "seed": number}
        for more in (SMALL, TAKEN.get(strategy, {}), OPTIMIZERS[number % 2], *chosen):
            keys |= more
        try:
            config = RunConfig(**keys)
            assignment_rule(config)
        except InputError:
            continue
        # A closed form has one round: it is killed before it, and between it and the summary.
        hold(config, folder, (0, 1) if effective(config).num_server_rounds == 1 else (1, 3), case)
        ran.append(case)
    for axis, values in zip(AXES, zip(*ran, strict=True), strict=True):
        assert set(values) == ({next(iter(axis))} if strategy in NOT_AVERAGING else set(axis))


@pytest.mark.parametrize("life", LIFE)
@pytest.mark.parametrize("ops", [ArrayOps, TorchOps])
def test_other_choices_go_on(life: str, ops: type[ArrayOps], tmp_path: Path) -> None:
    hold(RunConfig(**{**SMALL, **LIFE[life]}), tmp_path, (0, 1, 2, 3), ops=ops())


def test_any_two_choices_meet() -> None:
    met = {
        (one, other)
        for place in range(len(STRATEGIES) - len(NOT_AVERAGING))
        for case in cases(place)
        for one, other in combinations(enumerate(case), 2)
    }
    for (one, axis), (other, beside) in combinations(enumerate(AXES), 2):
        for value, partner in product(axis, beside):
            refused = value == "kept" and beside is UPDATES and partner != "float32"
            assert (((one, value), (other, partner)) in met) != refused
