"""What can be said against a pretraining run before its folder is touched or an image is trained on."""

import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from fl_sparse.encoder.load import build_model, check_tensors
from fl_sparse.errors import InputError, nearest
from fl_sparse.pretraining.autoencoder import encoder_options
from fl_sparse.pretraining.crops import PixelSource
from fl_sparse.pretraining.recipe import Recipe, usual_warmup
from fl_sparse.pretraining.state import Progress, load_progress

STATE_FILE = "state.safetensors"
PICTURES = "pictures"


def check_folder(out: Path) -> None:
    """Refuse a folder that holds something and is no pretraining run's.

    Before its first state a run leaves an empty folder of pictures and, if it is killed while it writes, a part of the
    state: with these it may start again.

    Raises
    ------
    InputError
        Naming the folder and what is in it.
    """
    if not out.is_dir() or (out / STATE_FILE).exists():
        return
    for path in sorted(out.iterdir()):
        begun = path.name == PICTURES and path.is_dir() and not any(path.iterdir())
        partial = re.fullmatch(rf"\.{re.escape(STATE_FILE)}(\..+)?\.partial", path.name)
        if not begun and not partial:
            raise InputError(
                f"--out {out}: holds {path.name} and no {STATE_FILE}, so it is no pretraining run's; expected a new "
                "folder"
            )


def check_model(recipe: Recipe, start: nn.Module | None) -> None:
    """Refuse, without making weights, a model that timm cannot build or that the start's weights do not fit.

    Raises
    ------
    InputError
        Naming the model, or the tensors.
    """
    import timm

    if not timm.is_model(recipe.model.split(".")[0]):
        known = timm.list_models("vit*")
        raise InputError(f"--model {recipe.model!r} is unknown{nearest(recipe.model, known)}")
    with torch.device("meta"):
        model = build_model(recipe.model, encoder_options(recipe), recipe.model)
    if start is not None:
        check_tensors(model, start.state_dict(), "--start-from")


def earlier_progress(out: Path, recipe: Recipe, images: PixelSource) -> Progress | None:
    """Return where the run in a folder is, None where none is.

    Raises
    ------
    InputError
        If the images are too few, or the state is damaged or of other images or of another recipe.
    """
    if len(images) < recipe.accumulate:
        raise InputError(
            f"{len(images)} images: expected at least one for each of {recipe.accumulate} parts of a batch"
        )
    state = out / STATE_FILE
    if not state.exists():
        return None
    saved, progress = load_progress(state)
    return resumed_progress(state, saved, recipe, progress, images.fingerprint)


def resumed_progress(path: Path, saved: Recipe, recipe: Recipe, progress: Progress, fingerprint: str) -> Progress:
    """Refuse a state of other images or another recipe; note a changed number of epochs.

    Raises
    ------
    InputError
        If the images or any field but ``epochs`` differ.
    """
    if progress.data != fingerprint:
        raise InputError(f"{path}: made from other images; expected the same data, or another folder")
    old, new = saved.to_dict(), recipe.to_dict()
    changed = [name for name in old if old[name] != new[name] and name != "epochs"]
    advice = "use another folder"
    if "warmup_epochs" in changed and all(one.warmup_epochs == usual_warmup(one.epochs) for one in (saved, recipe)):
        # Nobody asked for another warm-up: it followed from the number of epochs.
        changed[changed.index("warmup_epochs")] = "epochs"
        if changed == ["epochs"]:
            advice = f"use another folder, or go on with --warmup-epochs {saved.warmup_epochs:g}"
    if changed:
        named = ", ".join(f"{name} {old[name]} (now {new[name]})" for name in changed)
        raise InputError(f"{path}: made with another recipe: {named}; {advice}")
    if saved.epochs != recipe.epochs:
        note = f"cosine to {saved.epochs} epochs until epoch {progress.epochs_done}, then to {recipe.epochs}"
        return replace(progress, schedule="; ".join(filter(None, (progress.schedule, note))))
    return progress
