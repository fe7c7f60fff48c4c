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
    """Return the question for Gram matrices; it carries the standardizer of the features, if there is one.

    With ``class_sums`` it asks for the sums of each class only.
    """
    config: dict[str, Any] = {"question": "class-sums" if class_sums else "gram"}
    if standardizer is not None:
        config |= standardizer_values(standardizer)
    return RecordDict({CONFIG: ConfigRecord(config)})


def read_gram_question(content: RecordDict) -> tuple[Standardizer | None, bool]:
    """Return the question's standardizer, and whether it asks for the sums of each class only."""
    config = content.config_records[CONFIG]
    return standardizer_of(config), config["question"] == "class-sums"


def content_of_gram(gram: Gram) -> RecordDict:
    """Return the content of a client's sums, float64: X'Y, and X'X if it is there."""
    sums = {"features": gram.features} if gram.features.size else {}
    return RecordDict({ARRAYS: array_record(sums | {"labels": gram.labels})})


def read_gram(content: RecordDict, num_features: int, num_classes: int, *, class_sums: bool = False) -> Gram:
    """Return a client's sums, checked.

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
