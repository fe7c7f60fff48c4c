"""All clients of a simulated federation, as round 0 would describe them, without an object or a message for each.

Symbols: M clients, n_k rows of client k.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fl_sparse import __version__
from fl_sparse.features.statistics import FeatureStatistics
from fl_sparse.wire import ClientDescription, content_of_description, wire_bytes


@dataclass(frozen=True, eq=False)
class Population(Mapping[int, ClientDescription]):
    """Node id -> description, made when it is asked for, without statistics: `statistics` has those of all clients.

    Parameters
    ----------
    nodes
        Node ids in the order of the partition ids 0 to M − 1.
    sizes
        n_k of each client, int64 (M,).
    views
        V.
    num_features
        F.
    classes
        Names of the classes.
    capacity_of
        Partition id -> capacity.
    statistics
        Returns the statistics of all clients' features, merged in the order of the partition ids.
    shard_bytes
        Bytes of each client's training images as a shard, int64 (M,); None if there are features alone.
    """

    nodes: range
    sizes: NDArray[np.int64] = field(repr=False)
    views: int
    num_features: int
    classes: tuple[str, ...]
    capacity_of: Callable[[int], float] = field(repr=False)
    statistics: Callable[[], FeatureStatistics] = field(repr=False)
    shard_bytes: NDArray[np.int64] | None = field(default=None, repr=False)

    def __getitem__(self, node: int) -> ClientDescription:
        try:
            client = self.nodes.index(node)
        except ValueError:
            raise KeyError(node) from None
        return self._description(client, self._no_statistics)

    def __contains__(self, node: object) -> bool:
        return node in self.nodes

    def __iter__(self) -> Iterator[int]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def reply_bytes(self) -> NDArray[np.int64]:
        """Return the bytes of each client's description on the wire, int64 (M,).

        Clients' messages differ in size only by the bit lengths of their whole numbers. So one message is encoded for
        each combination of lengths, not for each client.
        """
        whole = [np.arange(len(self)), self.sizes, self.sizes * self.views]
        if self.shard_bytes is not None:
            whole.append(self.shard_bytes)
        lengths = np.stack([_bit_lengths(numbers) for numbers in whole], axis=1)
        _, first, kind = np.unique(lengths, axis=0, return_index=True, return_inverse=True)
        weights = [self._reply_bytes(client) for client in first.tolist()]
        return np.array(weights, dtype=np.int64)[kind.reshape(-1)]

    def _reply_bytes(self, client: int) -> int:
        nothing = self._no_statistics
        own = FeatureStatistics(int(self.sizes[client]) * self.views, nothing.mean, nothing.m2)
        return wire_bytes(content_of_description(self._description(client, own)))

    def _description(self, client: int, statistics: FeatureStatistics) -> ClientDescription:
        return ClientDescription(
            partition_id=client,
            num_examples=int(self.sizes[client]),
            num_features=self.num_features,
            classes=self.classes,
            capacity=self.capacity_of(client),
            statistics=statistics,
            version=__version__,
            shard_bytes=None if self.shard_bytes is None else int(self.shard_bytes[client]),
        )

    @functools.cached_property
    def _no_statistics(self) -> FeatureStatistics:
        return FeatureStatistics(0, np.zeros(self.num_features), np.zeros(self.num_features))


def _bit_lengths(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many bits whole numbers from 0 take, 0 for 0."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)
