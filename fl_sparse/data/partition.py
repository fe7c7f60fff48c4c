"""Which client holds which training images.

n images · M clients. A partition is M sorted int64 index arrays, none of them empty.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.draws import Purpose, generator
from fl_sparse.errors import InputError, nearest

if TYPE_CHECKING:
    from flwr_datasets.partitioner import Partitioner

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class PartitionRequest:
    """What a scheme needs to know; the fields are `partition`'s parameters."""

    labels: Rows
    num_clients: int
    rng: np.random.Generator
    alpha: float
    classes_per_client: int
    ids: NDArray[Any] | None


def _full(request: PartitionRequest) -> list[Rows]:
    """Every client holds everything: the setting of the IST papers."""
    return [np.arange(len(request.labels))] * request.num_clients


def _iid(request: PartitionRequest) -> list[Rows]:
    """Deal shuffled images into parts of equal size, to within one."""
    from flwr_datasets.partitioner import IidPartitioner

    order = request.rng.permutation(len(request.labels))
    return _parts(IidPartitioner(request.num_clients), {"row": order})


def _parts(partitioner: "Partitioner", columns: Mapping[str, NDArray[Any]]) -> list[Rows]:
    """Run a partitioner on a table of row numbers, so that images are never copied."""
    import datasets

    partitioner.dataset = datasets.Dataset.from_dict({name: values.tolist() for name, values in columns.items()})
    parts = (partitioner.load_partition(number) for number in range(partitioner.num_partitions))
    return [np.array(part["row"][:], dtype=np.int64) for part in parts]


SCHEMES: Mapping[str, Callable[[PartitionRequest], list[Rows]]] = {"full": _full, "iid": _iid}


def partition(
    scheme: str,
    labels: Rows,
    *,
    num_clients: int,
    data_seed: int,
    alpha: float = 0.5,
    classes_per_client: int = 2,
    ids: NDArray[Any] | None = None,
) -> tuple[Rows, ...]:
    """Split training images among clients.

    Parameters
    ----------
    scheme
        A name of `SCHEMES`.
    labels
        int64 (n,).
    num_clients
        M.
    data_seed
        Seed of the draw; the same labels and seed give the same parts in any process.

    Returns
    -------
    M sorted int64 arrays of rows, none empty.

    Raises
    ------
    InputError
        If the scheme is unknown, a value is out of range, or there are more clients than images.
    """
    if scheme not in SCHEMES:
        raise InputError(f"unknown partition {scheme!r}{nearest(scheme, SCHEMES)}")
    if num_clients < 1:
        raise InputError(f"num-clients {num_clients}: expected at least 1")
    if num_clients > len(labels) and scheme != "full":
        raise InputError(f"num-clients {num_clients}: more clients than the {len(labels)} training images to share")
    rng = generator(Purpose.PARTITION, data_seed)
    request = PartitionRequest(labels, num_clients, rng, alpha, classes_per_client, ids)
    return tuple(np.sort(part) for part in SCHEMES[scheme](request))
