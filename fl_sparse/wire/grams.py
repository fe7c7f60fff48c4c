"""The question for Gram matrices, and its answer."""

from __future__ import annotations

from typing import Any

import numpy as np
from flwr.app import ConfigRecord, RecordDict

from fl_sparse.features.statistics import Standardizer
from fl_sparse.learn.closed_form import Gram
from fl_sparse.wire.arrays import ARRAYS, CONFIG, array_record, parameters_of
from fl_sparse.wire.refusal import refusal_of
from fl_sparse.wire.standardizer import standardizer_of, standardizer_values


def content_of_gram_question(standardizer: Standardizer | None, *, class_sums: bool = False) -> RecordDict:
    """Return the question; it carries the standardizer that the sums are to be taken under.

    With ``class_sums`` it is for the sums of each class alone.
    """
    config: dict[str, Any] = {"question": "class-sums" if class_sums else "gram"}
    if standardizer is not None:
        config |= standardizer_values(standardizer)
    return RecordDict({CONFIG: ConfigRecord(config)})


def read_gram_question(content: RecordDict) -> tuple[Standardizer | None, bool]:
    """Return the standardizer of the question, and whether it is for the sums of each class alone."""
    config = content.config_records[CONFIG]
    return standardizer_of(config), config["question"] == "class-sums"


def content_of_gram(gram: Gram) -> RecordDict:
    """Return a client's sums, float64; those of each class alone if there are no others."""
    sums = {"features": gram.features} if gram.features.size else {}
    return RecordDict({ARRAYS: array_record(sums | {"labels": gram.labels})})


def read_gram(content: RecordDict, num_features: int, num_classes: int, *, class_sums: bool = False) -> Gram:
    """Read and check a client's sums.

    Raises
    ------
    ValueError
        With the reason for refusal.
    """
    if (reason := refusal_of(content)) is not None:
        raise ValueError(reason)
    arrays = parameters_of(content.array_records[ARRAYS]) if ARRAYS in content.array_records else {}
    shapes = {} if class_sums else {"features": (num_features + 1, num_features + 1)}
    shapes |= {"labels": (num_features + 1, num_classes)}
    for name, shape in shapes.items():
        if name not in arrays or arrays[name].dtype != np.float64 or arrays[name].shape != shape:
            raise ValueError(f"the Gram matrices lack {name!r} as float64 {shape}")
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"the Gram matrix {name!r} is not finite")
    return Gram(np.zeros((0, 0)) if class_sums else arrays["features"], arrays["labels"])
