"""A client's update as it travels: trained weights, or their difference from those received in fewer bits.

Symbols: θ_r received and θ_k trained parameters, Q encoding and decoding, e the residual.

With error feedback a client keeps what encoding lost and adds it to its next update:

    p = θ_k − θ_r + e,    sent Q(p),    e ← p − Q(p)

so that over any number of rounds the decoded updates sum to the true ones less the last residual. This makes sense only
while the client trains the same coordinates; the server, which alone knows them, says in each order which residual
applies.

References
----------
F. Seide et al., 1-Bit Stochastic Gradient Descent and its Application to Data-Parallel Distributed Training of Speech
DNNs, Interspeech 2014, equation 2. S. P. Karimireddy et al., Error Feedback Fixes SignSGD and other Gradient
Compression Schemes, ICML 2019, Algorithm 2 (EF-SGD), where one local step is what a client's update is here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fl_sparse.codec.quantization import decode, encode
from fl_sparse.wire.exchange import Parameters, TrainOrder, TrainReply


@dataclass(frozen=True)
class Residual:
    """What encoding lost of an update: its round, and e by parameter, float32."""

    round: int
    values: Parameters = field(repr=False)


def encode_update(order: TrainOrder, trained: TrainReply, kept: Residual | None) -> tuple[TrainReply, Residual | None]:
    """Return the reply as it travels, and the residual to keep until the next.

    Parameters
    ----------
    order
        What the client received: θ_r, the format, and which round's residual applies.
    trained
        The reply with the trained parameters θ_k.
    kept
        The client's residual, if it has one; it counts as zero unless it is of the round that the order names.

    Returns
    -------
    reply
        With θ_k itself in float32, else with the encoded difference.
    residual
        e, None without error feedback.
    """
    encoding = order.update
    if encoding.format == "float32":
        return trained, None
    applies = encoding.error_feedback and kept is not None and kept.round == encoding.residual_round
    update: dict[str, NDArray[np.float32]] = {}
    with np.errstate(over="ignore", invalid="ignore"):  # the server refuses what is not finite
        for name, values in trained.parameters.items():
            update[name] = values - order.parameters[name]
            if applies and kept is not None:
                update[name] += kept.values[name]
    arrays = encode(update, encoding.format)
    reply = replace(trained, parameters=arrays)
    # An update that is not finite will be refused: nothing of it may reach the next.
    if not encoding.error_feedback or not all(np.isfinite(values).all() for values in update.values()):
        return reply, None
    decoded = decode(arrays, encoding.format)
    return reply, Residual(order.round, {name: values - decoded[name] for name, values in update.items()})


def add_update(received: Parameters, update: Parameters) -> dict[str, NDArray[np.float32]]:
    """Return θ_r plus a decoded update.

    Raises
    ------
    ValueError
        Naming a parameter that is not finite then.
    """
    parameters = {}
    for name, values in received.items():
        with np.errstate(over="ignore"):
            parameters[name] = values + update[name]
        if not np.isfinite(parameters[name]).all():
            raise ValueError(f"{name} holds values that are not finite once the update is added")
    return parameters
