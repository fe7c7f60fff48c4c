"""A rule that remembers, in a few lines: each client trains the half of its weights that was largest."""

from __future__ import annotations

import inspect
import itertools
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.model.parameters import Model
from fl_sparse.part import Part
from fl_sparse.wire import ClientDescription, read_order
from server.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from strategies.clock.deadline import check_deadline
from strategies.methods.heterofl import HeteroFL
from strategies.round.groups import AssignmentRule, Axes, Group, Observed, Placement, by_kind, prefix
from strategies.round.plan import planned
from strategies.round.strategy import SubmodelStrategy
from strategies.state.broadcast import check_broadcast_feedback
from strategies.state.residuals import check_error_feedback
from tests.strategies.cohort_of_five import (
    aggregate,
    answer,
    ask,
    cohort,
    configuration,
    model,
    network,
    placed,
    received,
    strategy,
    trained,
)


@dataclass(frozen=True)
class LargestHalf(AssignmentRule):
    """The first units of each layer, and of each weight matrix of theirs the half that was largest after a round."""

    planned: ClassVar[bool] = False

    axes: Axes
    model: Model
    magnitudes: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def from_config(cls, config: RunConfig, axes: Axes) -> Self:
        return cls(axes, network(config).model)

    def place(self, round_number: int, clients: Sequence[ClientDescription]) -> list[Group]:
        return by_kind(clients, lambda client: client.capacity, self._place)

    def _place(self, client: ClientDescription) -> Placement:
        part = prefix(self.axes, client.capacity)
        held = part.cut(self.model, self.magnitudes)
        return Placement(Part(part.units, {name: values > np.median(values) for name, values in held.items()}))

    def observe(self, seen: Observed) -> Self:
        weights = (name for name, spec in self.model.items() if spec.role == "weight")
        return replace(self, magnitudes={name: np.abs(seen.after[name]) for name in weights})

    def state(self) -> Mapping[str, NDArray[Any]]:
        return self.magnitudes

    def load(self, state: Mapping[str, NDArray[Any]]) -> Self:
        return replace(self, magnitudes=dict(state))


WEIGHTS = ("hidden.0.weight", "hidden.1.weight", "output.weight")


def config_of(**changes) -> RunConfig:
    """HeteroFL's, with the toy's rule in its place."""
    return configuration("heterofl", **changes)


def made_of(config: RunConfig, states=None) -> SubmodelStrategy:
    return strategy(config, states, LargestHalf.from_config(config, network(config).shared_axes))


def alive(made: SubmodelStrategy, groups: Sequence[Group]) -> dict[str, np.ndarray]:
    """Which coordinates some group trains, gone through one by one."""
    found = {name: np.zeros(spec.shape, bool) for name, spec in made.network.model.items()}
    for group in groups:
        part = group.placement.part
        for name, spec in made.network.model.items():
            units = [range(n) if own is None else own for own, n in zip(part.index(spec), spec.shape, strict=True)]
            for place, whole in zip(np.ndindex(*map(len, units)), itertools.product(*units), strict=True):
                if name not in part.masks or part.masks[name][place]:
                    found[name][whole] = True
    return found


def moved(message, rng: np.random.Generator):
    """A reply that changes every coordinate that the client was sent, dead ones as well."""
    values = received(message)
    change = {
        name: rng.uniform(0.05, 0.3, array.shape) * rng.choice((-1, 1), array.shape) for name, array in values.items()
    }
    return answer(message, parameters={name: array + change[name].astype(np.float32) for name, array in values.items()})


def test_it_takes_less_than_forty_lines() -> None:
    assert len(inspect.getsource(LargestHalf).splitlines()) < 40


@pytest.mark.parametrize("keys", [{}, {"server_optimizer": "adam"}, {"broadcast_format": "int8"}], ids=str)
def test_dead_coordinates_keep_their_bits_and_alive_ones_change(keys: dict) -> None:
    config = config_of(**keys)
    made, weights, rng = made_of(config), model(config), np.random.default_rng(0)
    for number in range(1, 6):
        messages = ask(made, weights, number)
        for message in messages:
            part = placed(made, message).part
            assert set(part.masks) == (set(WEIGHTS) if number > 1 else set())
            for name, mask in part.masks.items():
                assert mask.shape == received(message)[name].shape
                assert mask.sum() == mask.size // 2
                assert (received(message)[name][~mask] == 0).all()
                assert (received(message)[name][mask] != 0).all() or "broadcast_format" in keys
        after = aggregate(made, [moved(message, rng) for message in messages], number)
        held = alive(made, made._groups)
        for name, values in weights.items():
            assert after[name][~held[name]].tobytes() == values[~held[name]].tobytes()
            assert (after[name][held[name]] != values[held[name]]).all()
            assert held[name].all() == (number == 1 or name not in WEIGHTS)
        weights = after


def test_the_masks_are_the_larger_half_as_of_the_last_round() -> None:
    config = config_of()
    made, weights, rng = made_of(config), model(config), np.random.default_rng(1)
    for number in (1, 2, 3):
        weights = aggregate(made, [moved(message, rng) for message in ask(made, weights, number)], number)
        for group in made.rule.place(number + 1, cohort(config)):
            part = group.placement.part
            cut = Part(part.units).cut(made.network.model, weights)
            for name, mask in part.masks.items():
                assert np.abs(cut[name][mask]).min() > np.abs(cut[name][~mask]).max()


def test_digests_differ_when_masks_do() -> None:
    config = config_of()
    made, weights, rng = made_of(config), model(config), np.random.default_rng(0)
    before: list[Part] = []
    for number in range(1, 6):
        messages = ask(made, weights, number)
        now = [group.placement.part for group in made._groups]
        again = [group.placement.part for group in made.rule.place(number + 1, cohort(config))]
        assert [part.digest for part in now] == [part.digest for part in again]
        assert len({part.digest for part in now}) == len(now)
        for one, other in zip(before, now, strict=False):
            assert all((one.units[axis] == units).all() for axis, units in other.units.items())
            same = one.masks.keys() == other.masks.keys() and all(
                (one.masks[name] == mask).all() for name, mask in other.masks.items()
            )
            assert not same
            assert one.digest != other.digest
        before = now
        weights = aggregate(made, [moved(message, rng) for message in messages], number)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"optimizer_state": "kept", "server_optimizer": "yogi"},
        {"update_format": "int8", "broadcast_format": "int8", "broadcast_error_feedback": True},
    ],
    ids=str,
)
def test_its_state_loaded_into_a_fresh_strategy_goes_on_exactly(keys: dict) -> None:
    config = config_of(**keys)
    made, weights = made_of(config), model(config)
    for number in (1, 2, 3):
        weights = aggregate(made, trained(ask(made, weights, number)), number)
    assert set(made.states()["rule"]) == set(WEIGHTS)
    with tempfile.TemporaryDirectory() as folder:
        kept = Checkpoint(3, weights, None, ("a", "b", "c"), made.states())
        read = load_checkpoint(save_checkpoint(Path(folder), kept))
    fresh = made_of(config, read.states)
    # One that forgot starts with all coordinates.
    forgetful = made_of(config, {name: arrays for name, arrays in read.states.items() if name != "rule"})
    told = read.parameters
    for number in (4, 5, 6):
        questions, again = ask(made, weights, number), ask(fresh, told, number)
        digests = [[group.placement.part.digest for group in one._groups] for one in (made, fresh)]
        assert digests[0] == digests[1]
        if number == 4:
            ask(forgetful, told, number)
            assert not {group.placement.part.digest for group in forgetful._groups} & set(digests[0])
        for one, other in zip(questions, again, strict=True):
            first, second = (read_order(message.content) for message in (one, other))
            assert (first.number, first.job.task) == (second.number, second.job.task)
            for name, values in first.job.part.parameters.items():
                assert values.tobytes() == second.job.part.parameters[name].tobytes()
        weights, told = aggregate(made, trained(questions), number), aggregate(fresh, trained(again), number)
        for name, values in weights.items():
            assert told[name].tobytes() == values.tobytes()
        for state, arrays in made.states().items():
            assert {name: array.tobytes() for name, array in arrays.items()} == {
                name: array.tobytes() for name, array in fresh.states()[state].items()
            }


def test_dead_coordinates_keep_their_optimiser_state() -> None:
    config = config_of(optimizer_state="kept")
    made, weights = made_of(config), model(config)
    for number in (1, 2, 3):
        before = made.optimizer_state.moments
        weights = aggregate(made, trained(ask(made, weights, number)), number)
        held = alive(made, made._groups)
        for moment, values in before.items():
            for name, array in values.items():
                after = made.optimizer_state.moments[moment][name]
                assert after[~held[name]].tobytes() == array[~held[name]].tobytes()
                assert number == 1 or (after[held[name]] != array[held[name]]).any()


def test_a_round_without_an_answer_is_not_observed() -> None:
    made, weights = made_of(config_of()), model(config_of())
    before = made.rule
    ask(made, weights)
    assert made.aggregate_train(1, []) == (None, None)
    assert made.rule is before


def test_checks_of_a_plan_leave_it_alone() -> None:
    """A run of one round, and a deadline before anybody: a rule that is planned would be refused for each."""
    lossy = {"update_format": "int8", "broadcast_format": "int8"}
    config = config_of(
        **lossy, error_feedback=True, broadcast_error_feedback=True, device_profiles="phone", round_deadline=1e-9
    )
    one = replace(config, num_server_rounds=1)
    axes = network(config).shared_axes
    rule, known = LargestHalf.from_config(config, axes), HeteroFL.from_config(config, axes)
    checks = (
        (check_error_feedback, one, ()),
        (check_broadcast_feedback, one, ()),
        (check_deadline, config, (network(config),)),
    )
    for check, keys, more in checks:
        check(keys, rule, cohort(keys), *more)
        with pytest.raises(InputError):
            check(keys, known, cohort(keys), *more)
    assert config.num_server_rounds > 1
    assert {number for number, _, _ in planned(config, rule, cohort(config))} == {1}
    assert {number for number, _, _ in planned(config, known, cohort(config))} == set(
        range(1, config.num_server_rounds + 1)
    )


def test_a_rule_without_memory_takes_no_state() -> None:
    with pytest.raises(ValueError, match="HeteroFL remembers nothing; expected no output"):
        HeteroFL.from_config(config_of(), network(config_of()).shared_axes).load({"output": np.ones(1)})
