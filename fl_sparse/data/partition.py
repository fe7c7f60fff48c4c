"""Which client holds which training images.

n images · M clients · C classes. A partition is M sorted int64 index arrays, none of them empty; under ``bootstrap`` a
row may be in one of them more than once.
"""

import contextlib
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.data.class_deal import deal_classes
from fl_sparse.data.client_rows import ClientRows
from fl_sparse.errors import InputError, nearest
from fl_sparse.rng import Purpose, generator

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
    images_per_client: int
    ids: NDArray[Any] | None


def partition(
    scheme: str,
    labels: Rows,
    *,
    num_clients: int,
    data_seed: int,
    alpha: float = 0.5,
    classes_per_client: int = 2,
    images_per_client: int = 20,
    ids: NDArray[Any] | None = None,
) -> ClientRows:
    """Split training images among clients.

    Every image goes to exactly one client, except under ``full``, where each client holds all of them, and under
    ``bootstrap``, where each draws with replacement.

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
    alpha
        Concentration of ``dirichlet``: small is uneven, large is even.
    classes_per_client
        Classes that a client holds under ``pathological``.
    images_per_client
        Images that a client draws under ``bootstrap``.
    ids
        Natural id of each image, (n,), for ``natural``.

    Returns
    -------
    M sorted int64 arrays of rows, none empty.

    Raises
    ------
    InputError
        If the scheme is unknown, a value is out of range, or some client would hold no image.
    """
    if scheme not in SCHEMES:
        raise InputError(f"unknown partition {scheme!r}{nearest(scheme, SCHEMES)}")
    if num_clients < 1:
        raise InputError(f"num-clients {num_clients}: expected at least 1")
    if len(labels) < (1 if scheme in SHARING else num_clients):
        raise InputError(f"num-clients {num_clients}: more than the {len(labels)} training images to share")
    rng = generator(Purpose.PARTITION, data_seed)
    request = PartitionRequest(labels, num_clients, rng, alpha, classes_per_client, images_per_client, ids)
    return ClientRows.of(np.sort(part) for part in SCHEMES[scheme](request))


def _full(request: PartitionRequest) -> list[Rows]:
    """Every client holds everything: the setting of the papers on independent subnets."""
    return [np.arange(len(request.labels), dtype=np.int64)] * request.num_clients


def _bootstrap(request: PartitionRequest) -> list[Rows]:
    """Draw each client's images with replacement: as many clients as wanted over one table of features."""
    if request.images_per_client < 1:
        raise InputError(f"images-per-client {request.images_per_client}: expected at least 1")
    shape = (request.num_clients, request.images_per_client)
    return list(request.rng.integers(len(request.labels), size=shape))


def _iid(request: PartitionRequest) -> list[Rows]:
    """Deal shuffled images into parts whose sizes differ by one at most."""
    from flwr_datasets.partitioner import IidPartitioner

    return _parts(IidPartitioner(request.num_clients), row=request.rng.permutation(len(request.labels)))


def _dirichlet(request: PartitionRequest) -> list[Rows]:
    """Draw each class's shares from a Dirichlet distribution (Yurochkin et al., ICML 2019).

    A client that the draw leaves empty gets an image of the client that then has most.
    """
    from flwr_datasets.partitioner import DirichletPartitioner

    if not (math.isfinite(request.alpha) and request.alpha > 0):
        raise InputError(f"alpha {request.alpha}: expected a positive number")
    partitioner = DirichletPartitioner(
        request.num_clients,
        partition_by="label",
        alpha=float(request.alpha),
        min_partition_size=0,
        seed=int(request.rng.integers(2**31)),
    )
    parts = _parts(partitioner, row=np.arange(len(request.labels)), label=request.labels)
    for number, part in enumerate(parts):
        if not len(part):
            largest = max(range(len(parts)), key=lambda other: len(parts[other]))
            parts[number], parts[largest] = parts[largest][-1:], parts[largest][:-1]
    return parts


def _pathological(request: PartitionRequest) -> list[Rows]:
    """Give each client images of a few classes only (McMahan et al., AISTATS 2017, section 3)."""
    from flwr_datasets.partitioner import PathologicalPartitioner

    classes, counts = np.unique(request.labels, return_counts=True)
    dealt = deal_classes(len(classes), request.num_clients, request.classes_per_client, request.rng)
    holders = np.bincount(np.concatenate(dealt), minlength=len(classes))
    for label, count, number in zip(classes, counts, holders, strict=True):
        if number > count:
            raise InputError(f"partition 'pathological': class {label} has {count} images for {number} clients")

    class CoveringPartitioner(PathologicalPartitioner):  # type: ignore[misc]
        """Flower's partitioner, with classes dealt so that each is held: its own three modes can leave some out."""

        def _determine_partition_id_to_unique_labels(self) -> None:
            self._unique_labels = classes.tolist()
            self._partition_id_to_unique_labels = {client: classes[of].tolist() for client, of in enumerate(dealt)}

    partitioner = CoveringPartitioner(request.num_clients, "label", request.classes_per_client, shuffle=False)
    order = request.rng.permutation(len(request.labels))
    return _parts(partitioner, row=order, label=request.labels[order])


def _natural(request: PartitionRequest) -> list[Rows]:
    """Keep images of one id together: a client per id, or several ids to a client if there are fewer clients."""
    from flwr_datasets.partitioner import NaturalIdPartitioner

    if request.ids is None:
        raise InputError("partition 'natural' needs id-column: the column that says whose image it is")
    by_id = _parts(NaturalIdPartitioner("id"), row=np.arange(len(request.labels)), id=request.ids)
    if request.num_clients > len(by_id):
        raise InputError(f"num-clients {request.num_clients}: more than the {len(by_id)} ids that images come from")
    if request.num_clients == len(by_id):
        return by_id
    order = request.rng.permutation(len(by_id))
    shares = (order[client :: request.num_clients] for client in range(request.num_clients))
    return [np.concatenate([by_id[number] for number in share]) for share in shares]


def _parts(partitioner: "Partitioner", **columns: NDArray[Any]) -> list[Rows]:
    """Run a partitioner on a table of row numbers, so that images are never touched."""
    import datasets

    partitioner.dataset = datasets.Dataset.from_dict({name: values.tolist() for name, values in columns.items()})
    # One of the partitioners draws a progress bar, whatever it is asked.
    with contextlib.redirect_stderr(io.StringIO()):
        parts = [partitioner.load_partition(number) for number in range(partitioner.num_partitions)]
    return [np.array(part["row"][:], dtype=np.int64) for part in parts]


SCHEMES: Mapping[str, Callable[[PartitionRequest], list[Rows]]] = {
    "full": _full,
    "iid": _iid,
    "dirichlet": _dirichlet,
    "pathological": _pathological,
    "natural": _natural,
    "bootstrap": _bootstrap,
}
"""Every client split by the name that `partition` takes."""

SHARING = ("full", "bootstrap")
"""Schemes under which several clients may hold an image."""
