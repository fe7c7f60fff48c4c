"""The server's own evaluation: the whole, unscaled model on masked validation and test images."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.array_ops import ArrayOps
from fl_sparse.features.statistics import Standardizer
from fl_sparse.federation import FeatureTable, HeldOut, standardized
from fl_sparse.learn.evaluation import Score, evaluate_table, mean_score
from fl_sparse.learn.task import Parameters
from fl_sparse.model.mlp import MLPSpec
from fl_sparse.model.own_models import models_of


@dataclass(frozen=True)
class Examination:
    """Standardised inputs with labels, by name: ``validation`` and ``test``; scored on NumPy or torch."""

    spec: MLPSpec
    sets: Mapping[str, tuple[NDArray[np.float32], NDArray[np.int64]]] = field(repr=False)
    ops: ArrayOps = field(default_factory=ArrayOps, repr=False)

    def __call__(self, parameters: Parameters) -> dict[str, Score]:
        """Return the model's score on each set; for clients' own models, the mean over the clients."""
        models = models_of(parameters)
        return {
            name: mean_score([evaluate_table(model, self.spec, self._inputs[name], labels) for model in models])
            for name, (_, labels) in self.sets.items()
        }

    @functools.cached_property
    def _inputs(self) -> Mapping[str, Any]:
        return {name: self.ops.from_host(features) for name, (features, _) in self.sets.items()}


def score_entries(scores: Mapping[str, Score]) -> dict[str, Any]:
    """Return the scores as entries of a round's record."""
    return {
        f"{name}_{measure}": getattr(score, measure)
        for name, score in scores.items()
        for measure in ("accuracy", "loss")
    }


def examination(spec: MLPSpec, held_out: HeldOut, standardizer: Standardizer | None, ops: ArrayOps) -> Examination:
    """Return the examination of models on the server's images."""

    def inputs(table: FeatureTable) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return standardized(table, standardizer), table.labels

    return Examination(spec, {"validation": inputs(held_out.validation), "test": inputs(held_out.test)}, ops)
