"""A run's final weights, one file a model, whose bytes are a function of the model alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fl_sparse.config import RunConfig
from fl_sparse.learn.task import Parameters
from fl_sparse.model.own_models import separated
from fl_sparse.tensor_file import write_tensors
from server.checkpoint import Checkpoint
from server.run_folder import RunFolder


def write_models(folder: RunFolder, config: RunConfig, state: Checkpoint) -> None:
    """Write the global model, or, where clients have kept their own, each of theirs."""
    models = separated(state.parameters)
    if not models:
        _write(folder.model_file, state.parameters, config, state)
    for client, parameters in models.items():
        path = folder.client_model_file(client)
        path.parent.mkdir(exist_ok=True)
        _write(path, parameters, config, state)


def _write(path: Path, parameters: Parameters, config: RunConfig, state: Checkpoint) -> None:
    tensors = {name: np.ascontiguousarray(values) for name, values in parameters.items()}
    if state.standardizer is not None:
        tensors["standardizer.mean"] = state.standardizer.mean
        tensors["standardizer.inverse_std"] = state.standardizer.inverse_std
    metadata = {
        "classes": "\n".join(state.classes),
        "activation": config.activation,
        "normalization": config.normalization,
        "encoder": config.encoder,
        "pooling": config.pooling,
        "round": str(state.round),
    }
    write_tensors(path, tensors, metadata)
