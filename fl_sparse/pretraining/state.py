"""What a pretraining run carries from one epoch to the next, and its file.

One safetensors file: the weights, AdamW's moments, and in the header the recipe, the epochs done and the loss of each.
Order, masks and crops are functions of (seed, epoch, step), so no state of a random generator is kept.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fl_sparse.errors import InputError
from fl_sparse.pretraining.autoencoder import MaskedAutoencoder
from fl_sparse.pretraining.recipe import Recipe
from fl_sparse.tensor_file import read_metadata, read_tensors, write_tensors

FORMAT = "fl-sparse pretraining 1"
KIND = "pretraining state"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Progress:
    """Where a run is."""

    epochs_done: int
    """Whole passes over the images."""
    losses: tuple[float, ...]
    """Mean loss of each epoch done."""
    seconds: float
    """Time spent training, over all sittings."""
    data: str = ""
    """Fingerprint of the images."""
    schedule: str = ""
    """Said in the encoder's header when the schedule was not one uninterrupted cosine."""


def build_optimizer(model: MaskedAutoencoder, recipe: Recipe) -> torch.optim.AdamW:
    """Return AdamW with β = (0.9, 0.95); vectors and tokens are not decayed."""
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    plain = [weight for name, weight in trained if weight.ndim < 2 or "token" in name]
    decayed = [weight for name, weight in trained if not (weight.ndim < 2 or "token" in name)]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.95),
        fused=True,
    )


def save_state(
    path: Path, model: MaskedAutoencoder, optimizer: torch.optim.Optimizer, recipe: Recipe, progress: Progress
) -> None:
    """Write everything a resumed run needs; the old file stays whole until the new one is."""
    tensors = {}
    for name, weight in model.named_parameters():
        tensors[f"model/{name}"] = weight.detach().cpu().numpy()
        for moment in MOMENTS:
            if weight in optimizer.state:
                tensors[f"{moment}/{name}"] = optimizer.state[weight][moment].detach().cpu().numpy()
    header = {
        "format": FORMAT,
        "recipe": json.dumps(recipe.to_dict()),
        "epochs_done": str(progress.epochs_done),
        "losses": json.dumps(progress.losses),
        "seconds": repr(progress.seconds),
        "data": progress.data,
        "schedule": progress.schedule,
    }
    write_tensors(path, tensors, header)


def load_state(path: Path) -> tuple[dict[str, Tensor], Recipe, Progress]:
    """Read a state: tensors by name, the recipe it was made with, and its progress.

    Raises
    ------
    InputError
        If the file is damaged or is no pretraining state.
    """
    recipe, progress = load_progress(path)
    tensors, _ = read_tensors(path, kind=KIND, framework="pt")
    return tensors, recipe, progress


def load_progress(path: Path) -> tuple[Recipe, Progress]:
    """Read the recipe and the progress of a state, as `load_state` does; the tensors stay in the file."""
    header = read_metadata(path, kind=KIND)
    if header.get("format") != FORMAT:
        raise InputError(f"{path}: not a pretraining state; expected format {FORMAT!r}, not {header.get('format')!r}")
    progress = Progress(
        int(header["epochs_done"]),
        tuple(json.loads(header["losses"])),
        float(header["seconds"]),
        header.get("data", ""),
        header["schedule"],
    )
    return Recipe.from_dict(json.loads(header["recipe"])), progress


@torch.no_grad()
def restore(model: MaskedAutoencoder, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put saved weights and moments in place, bit for bit."""
    for name, weight in model.named_parameters():
        weight.copy_(tensors[f"model/{name}"])
        if f"step/{name}" in tensors:
            optimizer.state[weight] = {moment: tensors[f"{moment}/{name}"].to(weight.device) for moment in MOMENTS}
