"""Each client's rows of a table, in two arrays however many clients there are.

M clients · n_k rows of client k. A hundred thousand small arrays cost more in bookkeeping than in rows: here client k's
rows are ``rows[offsets[k]:offsets[k + 1]]``, and what is done to all rows is done to one array.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Self, overload

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ClientRows(Sequence[Rows]):
    """M arrays of rows, as a sequence of views.

    Parameters
    ----------
    rows
        int64 (Σ n_k,).
    offsets
        int64 (M + 1,), from 0 to Σ n_k.
    """

    rows: Rows = field(repr=False)
    offsets: Rows = field(repr=False)

    @classmethod
    def of(cls, parts: Iterable[Rows]) -> Self:
        """Join the clients' arrays."""
        held = list(parts)
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in held])]).astype(np.int64)
        return cls(np.concatenate([np.empty(0, dtype=np.int64), *held]), offsets)

    @property
    def sizes(self) -> Rows:
        """n_k, int64 (M,)."""
        return np.diff(self.offsets)

    def taken_from(self, values: Rows) -> Self:
        """Return the same parts with each row r replaced by ``values[r]``."""
        return replace(self, rows=values[self.rows])

    def where(self, wanted: NDArray[np.bool_]) -> Self:
        """Return the parts without the rows r for which ``wanted[r]`` is false; a part may become empty."""
        stays = wanted[self.rows]
        offsets = np.concatenate([[0], np.cumsum(stays)])[self.offsets]
        return replace(self, rows=self.rows[stays], offsets=offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, client: int) -> Rows: ...

    @overload
    def __getitem__(self, client: slice) -> list[Rows]: ...

    def __getitem__(self, client: int | slice) -> Rows | list[Rows]:
        if isinstance(client, slice):
            return [self[number] for number in range(*client.indices(len(self)))]
        number = range(len(self))[client]
        return self.rows[self.offsets[number] : self.offsets[number + 1]]

    def __iter__(self) -> Iterator[Rows]:
        return (self[client] for client in range(len(self)))
