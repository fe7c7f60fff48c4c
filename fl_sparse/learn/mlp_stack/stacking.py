"""Which clients of a cohort are trained in one stack, and which weights of theirs by factors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fl_sparse.learn.array_ops import ArrayOps
from fl_sparse.learn.mlp_stack.stack import factor_bytes, part_size
from fl_sparse.part.factored import factored_names
from fl_sparse.wire.exchange import TrainOrder

if TYPE_CHECKING:
    from fl_sparse.learn.local_training import LocalData

ENOUGH_ALIKE = 8
"""Clients with the same start from which on a stack of their own costs less than copies of their weights (measured for
rounds of subnets of 768-250-250-10 on two cores: 0.9 times as fast with 4, 1.1 with 8, 1.4 with 16)."""


@dataclass(frozen=True)
class Stack:
    """Orders that are trained at once, by their positions, ascending, and the weights that are trained by factors."""

    positions: list[int]
    factored: tuple[str, ...] = ()


def stacks_of(orders: Sequence[TrainOrder], data: Sequence[LocalData], ops: ArrayOps) -> list[Stack]:
    """Divide a cohort into stacks of equal shapes, as large as the memory set aside for that.

    Sorted by their first position. Orders of which `ENOUGH_ALIKE` or more begin with the very same arrays, in a stretch
    that would fit the memory together, are a stack with factored weights: the server hands one array to all that train
    the same units.
    """
    alike: dict[Any, list[int]] = defaultdict(list)
    for position, (order, held) in enumerate(zip(orders, data, strict=True)):
        alike[_kind(order, held)].append(position)
    stacks: list[Stack] = []
    for positions in alike.values():
        stacks += _divided(orders, positions, _rows(orders, data, positions), ops)
    return sorted(stacks, key=lambda stack: stack.positions[0])


def _kind(order: TrainOrder, data: LocalData) -> Any:
    shapes = tuple((name, values.shape) for name, values in sorted(order.parameters.items()))
    ordered = bool(order.prefixes), order.self_distillation
    alike = order.activation, order.normalization, order.optimizer, order.local_steps, order.absent_classes
    return shapes, alike, ordered, bool(order.moments), id(data.features), id(data.standardizer)


def _divided(orders: Sequence[TrainOrder], positions: Sequence[int], rows: int, ops: ArrayOps) -> Iterator[Stack]:
    """Divide orders of equal shapes."""
    first = orders[positions[0]]
    copies = _part(first, (), rows, ops)
    names = _factored_names(first, rows)
    if not names or not any(len(same) >= ENOUGH_ALIKE for same in _by_start(orders, positions, names)):
        yield from (Stack(list(part)) for part in _cut(positions, copies))
        return
    # Replies leave in the orders' order: a stretch of it at a time, whoever starts with what, so that few have to wait.
    for stretch in _cut(positions, _part(first, names, rows, ops)):
        starts = _by_start(orders, stretch, names)
        yield from (Stack(same, names) for same in starts if len(same) >= ENOUGH_ALIKE)
        others = sorted(position for same in starts if len(same) < ENOUGH_ALIKE for position in same)
        yield from (Stack(list(part)) for part in _cut(others, copies))


def _by_start(orders: Sequence[TrainOrder], positions: Sequence[int], names: Sequence[str]) -> list[list[int]]:
    """Divide positions by the arrays that the named weights begin with."""
    starts: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for position in positions:
        starts[tuple(id(orders[position].parameters[name]) for name in names)].append(position)
    return list(starts.values())


def _factored_names(order: TrainOrder, rows: int) -> tuple[str, ...]:
    """Return the weights that orders like this one train by their factors, if they begin with the same."""
    travels_as_it_is = order.update.format == "float32" and not order.moments
    if order.optimizer.name != "sgd" or order.prefixes or not travels_as_it_is:
        return ()
    return factored_names({name: values.shape for name, values in order.parameters.items()}, rows)


def _rows(orders: Sequence[TrainOrder], data: Sequence[LocalData], positions: Sequence[int]) -> int:
    """Return the examples of all steps of the largest client, padding included."""
    widest = max(min(orders[position].batch_size, len(data[position].rows)) for position in positions)
    return widest * orders[positions[0]].local_steps


def _part(order: TrainOrder, names: Sequence[str], rows: int, ops: ArrayOps) -> int:
    """Return how many orders like this one fit the memory together, if the named weights are factored."""
    factors = factor_bytes([order.parameters[name] for name in names], rows)
    own = sum(values.nbytes for name, values in order.parameters.items() if name not in names)
    return part_size(own, order.optimizer, ops, factors)


def _cut(positions: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (positions[start : start + size] for start in range(0, len(positions), size))
