"""Each client's accuracy, at the round whose accuracy the run reports.

If clients evaluate, it is the accuracy on the images that the client held back. If the server evaluates and knows the
split, it is the accuracy on the server's test images by class, weighted by the client's labels: Σ_c p_k(c)·acc_c, where
p_k(c) is the share of class c among client k's training images. The server knows a client's classes, not its images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.learn.evaluation import Score
from fl_sparse.wire import EvaluationReply
from server.client_table import ClientTable

MOST_LISTED = 1000
"""Most clients that the summary lists one by one; of more clients it holds the percentiles."""
ENTRIES = ("client_accuracy_min", "client_accuracy_p10", "client_accuracy_median", "client_accuracy")
KEPT_BACK, BY_LABELS = "images that each client kept back", "test images, weighted by each client's labels"


@dataclass(frozen=True, eq=False)
class ClientAccuracy:
    """Accuracies after a round.

    Parameters
    ----------
    round
        The round.
    of
        The images: `KEPT_BACK` or `BY_LABELS`.
    clients
        int64 (M,), partition ids, ascending.
    accuracy
        float64 (M,), fractions; NaN for a client that did not answer, or whose classes have no test image.
    """

    round: int
    of: str
    clients: NDArray[np.int64] = field(repr=False)
    accuracy: NDArray[np.float64] = field(repr=False)


def by_client(
    number: int, clients: ClientTable, scores: Mapping[str, Score], evaluations: Mapping[int, EvaluationReply]
) -> ClientAccuracy | None:
    """Return the clients' accuracies after a round, None if neither clients nor server can tell.

    Parameters
    ----------
    number
        The round.
    clients
        Who takes part.
    scores
        The server's scores, by the name of the images (``test``).
    evaluations
        The clients' answers, by partition id.
    """
    ids = clients.clients
    if evaluations:
        said = [evaluations[client].accuracy if client in evaluations else np.nan for client in ids.tolist()]
        return ClientAccuracy(number, KEPT_BACK, ids, np.array(said, dtype=np.float64))
    if "test" in scores and clients.labels is not None:
        return ClientAccuracy(number, BY_LABELS, ids, weighted_by_labels(scores["test"], clients.labels))
    return None


def weighted_by_labels(score: Score, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return Σ_c p_k(c)·acc_c, float64 (M,), over the classes that the score's images show.

    Parameters
    ----------
    score
        The score on the server's test images, of one model or of each client's own.
    labels
        int64 (M, C): training images of each class that each client holds.
    """
    seen = score.examples_by_class > 0
    accuracy = score.correct_by_class[:, seen] / score.examples_by_class[seen]
    weights = labels[:, seen]
    total = weights.sum(axis=1)
    found: NDArray[np.float64] = np.full(len(labels), np.nan)
    np.divide((weights * accuracy).sum(axis=1), total, out=found, where=total > 0)
    return found


def summary_entries(found: ClientAccuracy | None) -> dict[str, Any]:
    """Return a summary's entries: the distribution, and each client's accuracy up to `MOST_LISTED` clients."""
    known = np.empty(0) if found is None else found.accuracy[~np.isnan(found.accuracy)]
    if found is None or not len(known):
        return dict.fromkeys(ENTRIES)
    listed: dict[str, Any] = {"round": found.round, "of": found.of, "number": len(known)}
    if len(found.clients) <= MOST_LISTED:
        listed["clients"] = found.clients.tolist()
        listed["accuracy"] = [None if np.isnan(value) else value for value in found.accuracy.tolist()]
    else:
        listed["percentiles"] = np.percentile(known, np.arange(101)).tolist()
    low, tenth, middle = np.percentile(known, [0, 10, 50]).tolist()
    return dict(zip(ENTRIES, (low, tenth, middle, listed), strict=True))
