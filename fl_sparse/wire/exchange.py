"""What server and client tell one another; `fl_sparse.wire` puts it into Flower's messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.features.statistics import FeatureStatistics, Standardizer
from fl_sparse.learn.optimizers import OptimizerSpec

Parameters = Mapping[str, NDArray[np.float32]]
OptimizerMoments = Mapping[str, Parameters]
"""Moment (``first`` and ``second`` of Adam, ``momentum`` of SGD) -> parameter -> values of the parameter's shape."""


@dataclass(frozen=True)
class ClientDescription:
    """What a node answers to the first question: who it is and what it holds."""

    partition_id: int
    num_examples: int
    num_features: int
    classes: tuple[str, ...]
    capacity: float
    statistics: FeatureStatistics
    """Of its F features over all its training images and their views, in float64."""
    version: str
    shard_bytes: int | None = None
    """What its training images weigh as a shard (`fl_sparse.shard.size`); None where it holds features alone."""


@dataclass(frozen=True)
class UpdateEncoding:
    """How a client's update is to travel up.

    Parameters
    ----------
    format
        One of `fl_sparse.codec.quantization.UPDATE_FORMATS`; ``float32``: the trained weights themselves.
    error_feedback
        Whether the client keeps what encoding loses.
    residual_round
        The round whose residual the client adds, if it has it; 0 = none.
    """

    format: str = "float32"
    error_feedback: bool = False
    residual_round: int = 0


@dataclass(frozen=True)
class TrainOrder:
    """One client's work in a round."""

    round: int
    subnet: int
    parameters: Parameters
    scales: tuple[float, ...]
    """One factor a layer, output included: z = c W h + b."""
    activation: str
    normalization: str
    optimizer: OptimizerSpec
    first_step: int
    local_steps: int
    batch_size: int
    seed: int
    standardizer: Standardizer | None
    """Sent with a node's first train message, which keeps it, and with every evaluation."""
    expects_standardizer: bool
    prefixes: tuple[tuple[int, ...], ...] = ()
    """Ordered dropout: each step draws one of these and trains that many first units of each hidden layer; () = all."""
    self_distillation: bool = False
    """Ordered dropout: whether the prefix learns from all that was received, which learns from the labels."""
    absent_classes: str = "trained"
    """What becomes of the logits of classes that the client lacks (`fl_sparse.learn.absent_classes`). Unless they
    are trained, the reply says which it holds."""
    update: UpdateEncoding = UpdateEncoding()
    moments: OptimizerMoments = field(default_factory=dict)
    """What the optimiser goes on from; the reply then carries its moments, too. Empty: a fresh optimiser, not kept."""
    steps_taken: int = 0
    """t, steps that `moments` have behind them: Adam corrects by 1 − β^t."""


@dataclass(frozen=True)
class EvaluationReply:
    """How the whole model does on what a client kept back: accuracy a fraction, loss in nats."""

    round: int
    accuracy: float
    loss: float
    num_examples: int


@dataclass(frozen=True)
class TrainReply:
    """What a client sends back."""

    round: int
    subnet: int
    parameters: Mapping[str, Any]
    """The trained weights, as arrays or factored; or what the order asks for instead: the difference from what came,
    encoded."""
    num_examples: int
    loss: float
    """Mean over the local steps of the batches' mean cross-entropy."""
    moments: OptimizerMoments = field(default_factory=dict)
    """The optimiser's after the last step, if the order carried some."""
    classes: tuple[int, ...] | None = None
    """The numbers of the classes that the client holds, ascending, if the order asked; its output rows of others do not
    count."""
