"""An update in a message: trained weights, or, in fewer bits, their difference from the weights received.

Symbols: θ_r received and θ_k trained parameters, Q encoding and decoding, e the residual.

With error feedback, a client adds what encoding lost, its residual, to its next update:

    p = θ_k − θ_r + e,    sent Q(p),    e ← p − Q(p)

So over any number of rounds, the decoded updates sum to the true updates less the last residual. A residual applies
only while the client trains the same coordinates. Only the server knows these, so each order says which residual
applies.

References
----------
F. Seide et al., 1-Bit Stochastic Gradient Descent and its Application to Data-Parallel Distributed Training of Speech
DNNs, Interspeech 2014, equation 2. S. P. Karimireddy et al., Error Feedback Fixes SignSGD and other Gradient
Compression Schemes, ICML 2019, Algorithm 2 (EF-SGD), with a client's update in the place of a local step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.codec import CODECS
from fl_sparse.codec.codec import Values

Parameters = Mapping[str, Values]


@dataclass(frozen=True)
class UpdateEncoding:
    """How a client encodes its update.

    Parameters
    ----------
    format
        One of `fl_sparse.codec.CODECS`; ``float32``: the trained weights themselves.
    error_feedback
        Whether the client adds what encoding lost to its next update.
    residual_round
        The round whose residual the client adds, if it has it; 0 = none.
    """

    format: str = "float32"
    error_feedback: bool = False
    residual_round: int = 0


@dataclass(frozen=True)
class Residual:
    """What encoding an update lost: the update's round, and e by parameter, float32."""

    round: int
    values: Parameters = field(repr=False)


def encode_update(
    received: Parameters, trained: Mapping[str, Any], encoding: UpdateEncoding, before: Residual | None
) -> tuple[Mapping[str, Any], Parameters | None]:
    """Return the arrays to send, and the residual for the next update.

    Parameters
    ----------
    received
        θ_r, as the client decoded it.
    trained
        θ_k.
    encoding
        The format, and which round's residual applies.
    before
        The client's residual, if it has one; it counts only if it is of the round that the encoding names.

    Returns
    -------
    arrays
        θ_k itself in float32, else the encoded difference.
    residual
        e, None without error feedback.
    """
    if encoding.format == "float32":
        return trained, None
    applies = encoding.error_feedback and before is not None and before.round == encoding.residual_round
    update: dict[str, NDArray[np.float32]] = {}
    with np.errstate(over="ignore", invalid="ignore"):  # the server refuses what is not finite
        for name, values in trained.items():
            update[name] = values - received[name]
            if applies and before is not None:
                update[name] += before.values[name]
    arrays, lost = encode_and_lose(update, encoding.format)
    return arrays, lost if encoding.error_feedback else None


def encode_and_lose(values: Parameters, name: str) -> tuple[dict[str, NDArray[Any]], Parameters | None]:
    """Return values in a format, and what encoding loses.

    The loss is None if a value is not finite: the receiver refuses such values, and no later message may contain them.
    """
    codec = CODECS[name]
    arrays = codec.encode(values)
    if not all(np.isfinite(array).all() for array in values.values()):
        return arrays, None
    decoded = codec.decode(arrays)
    return arrays, {key: array - decoded[key] for key, array in values.items()}


def add_update(received: Parameters, update: Parameters) -> dict[str, NDArray[np.float32]]:
    """Return θ_r plus a decoded update.

    Raises
    ------
    ValueError
        Naming a parameter whose sum is not finite.
    """
    parameters = {}
    for name, values in received.items():
        with np.errstate(over="ignore"):
            parameters[name] = values + update[name]
        if not np.isfinite(parameters[name]).all():
            raise ValueError(f"{name} holds values that are not finite once the update is added")
    return parameters
