"""The encoder that a pretraining run leaves: half-precision weights and a header that tells how they were made."""

from pathlib import Path

import torch

from fl_sparse.encoder.export import save_encoder
from fl_sparse.encoder.header import EncoderHeader
from fl_sparse.pretraining.autoencoder import MaskedAutoencoder, encoder_options
from fl_sparse.pretraining.recipe import Recipe
from fl_sparse.pretraining.state import Progress, load_state


def result_header(recipe: Recipe, progress: Progress, *, width: int, data: str, commit: str) -> EncoderHeader:
    """Return the header of a run's encoder, finished or not: ``epochs`` are those done."""
    return EncoderHeader(
        architecture=recipe.model,
        options=encoder_options(recipe),
        image_size=recipe.image_size,
        patch_size=recipe.patch_size,
        width=width,
        mean=(recipe.mean,) * 3,
        std=(recipe.std,) * 3,
        data=data,
        recipe=recipe.to_dict(),
        epochs=progress.epochs_done,
        schedule=progress.schedule,
        commit=commit,
    )


def save_result(
    path: Path, model: MaskedAutoencoder, recipe: Recipe, progress: Progress, *, data: str, commit: str
) -> None:
    """Write the encoder of a run; the decoder is left out."""
    header = result_header(recipe, progress, width=model.encoder.embed_dim, data=data, commit=commit)
    save_encoder(path, model.encoder, header)


def export_state(state: Path, path: Path, *, data: str, commit: str) -> None:
    """Write the encoder that a state file holds, of a run that is finished or still going on.

    Raises
    ------
    InputError
        If the file is damaged or is no pretraining state.
    """
    tensors, recipe, progress = load_state(state)
    model = MaskedAutoencoder(recipe)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(tensors[f"model/{name}"])
    save_result(path, model, recipe, progress, data=data, commit=commit)
