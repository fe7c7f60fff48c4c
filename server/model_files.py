"""A run's final models, each in a file that needs nothing else to be used."""

from __future__ import annotations

from pathlib import Path

from fl_sparse.config import RunConfig
from fl_sparse.encoder.load import parse_normalization
from fl_sparse.encoder.spec import encoder_spec
from fl_sparse.errors import InputError
from fl_sparse.learn.task import Parameters
from fl_sparse.model.mlp import MLPSpec
from fl_sparse.model.own_models import separated
from fl_sparse.model.trained import EncoderUse, TrainedModel, write_model
from server.checkpoint import Checkpoint
from server.run_folder import RunFolder


def write_models(folder: RunFolder, config: RunConfig, network: MLPSpec, state: Checkpoint) -> None:
    """Write the global model or, if clients have models of their own, each client's."""
    encoder = encoder_use(config)
    own = separated(state.parameters).items()
    models: list[tuple[Path, Parameters]] = [(folder.client_model_file(client), values) for client, values in own]
    for path, parameters in models or [(folder.model_file, state.parameters)]:
        path.parent.mkdir(exist_ok=True)
        model = TrainedModel(encoder, network, parameters, state.classes, state.round, state.standardizer)
        write_model(path, model)


def encoder_use(config: RunConfig) -> EncoderUse:
    """Return what is known of a run's encoder; a server without images may not have the encoder."""
    named = EncoderUse(config.encoder, config.pooling, precision=config.precision)
    try:
        spec = encoder_spec(config.encoder)
        mean, std = parse_normalization(config.encoder_normalization, spec)
    except InputError:
        return named
    return EncoderUse(
        config.encoder,
        config.pooling,
        spec.digest,
        spec.image_size,
        spec.patch_size,
        spec.width,
        mean,
        std,
        precision=config.precision,
    )
