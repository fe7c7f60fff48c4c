"""The pretraining loop: batches from draws, steps, and a state after each epoch.

Shapes: n images · B images in a step · N patches of an image · P values in a patch.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from fl_sparse.encoder.load import place_weights
from fl_sparse.patches import patchify
from fl_sparse.pretraining.autoencoder import MaskedAutoencoder
from fl_sparse.pretraining.beginning import STATE_FILE, earlier_progress
from fl_sparse.pretraining.crops import PixelSource, cropped_batch
from fl_sparse.pretraining.recipe import Recipe
from fl_sparse.pretraining.state import Progress, build_optimizer, load_state, restore, save_state
from fl_sparse.rng import Purpose, generator


@dataclass(frozen=True)
class StepReport:
    """What is shown while a run goes on."""

    epoch: int
    """Epochs done before this step's."""
    step: int
    """Steps done in this epoch."""
    steps: int
    """Steps of an epoch."""
    loss: float
    """Mean loss of this epoch so far."""
    learning_rate: float
    images_per_second: float
    """Over this epoch."""
    seconds_left: float
    """Until the last epoch ends, at this speed."""


@dataclass(frozen=True)
class Batch:
    """One step's input."""

    patches: NDArray[np.uint8]
    """(B, N, P)"""
    order: NDArray[np.int64]
    """(B, N), a permutation of the patches for each image; the first K are visible."""


def epoch_rows(recipe: Recipe, num_images: int, epoch: int) -> NDArray[np.int64]:
    """Return the images of each step, int64 (steps, B); those that fill no whole batch wait for another epoch."""
    batch = min(recipe.batch_size, num_images // recipe.accumulate * recipe.accumulate)
    order = generator(Purpose.PRETRAIN_ORDER, recipe.seed, epoch).permutation(num_images)
    steps = num_images // batch
    return order[: steps * batch].reshape(steps, batch)


def make_batch(images: PixelSource, recipe: Recipe, rows: NDArray[np.int64], epoch: int, step: int) -> Batch:
    """Return a step's crops and masks: a function of (seed, epoch, step) alone."""
    crops = cropped_batch(
        images,
        rows,
        generator(Purpose.PRETRAIN_CROP, recipe.seed, epoch, step),
        size=recipe.image_size,
        smallest=recipe.crop_scale,
    )
    noise = generator(Purpose.PRETRAIN_MASK, recipe.seed, epoch, step).random((len(rows), recipe.num_patches))
    return Batch(patchify(crops, recipe.patch_size), np.argsort(noise, axis=1))


def epoch_batches(images: PixelSource, recipe: Recipe, epoch: int, workers: int) -> Iterator[Batch]:
    """Yield an epoch's batches in order, the coming ones made by other threads while the last is trained on."""
    rows = epoch_rows(recipe, len(images), epoch)
    with ThreadPoolExecutor(workers) as pool:
        coming: deque[Future[Batch]] = deque()
        for step in range(len(rows)):
            while len(coming) <= workers and step + len(coming) < len(rows):
                place = step + len(coming)
                coming.append(pool.submit(make_batch, images, recipe, rows[place], epoch, place))
            yield coming.popleft().result()


def normalized(patches: NDArray[np.uint8], recipe: Recipe, device: torch.device) -> Tensor:
    """Return float32 (B, N, P) on the device: pixels on 0..1, minus the recipe's mean, over its deviation."""
    values = torch.from_numpy(patches).to(device, non_blocking=True).float()
    return values.mul_(1 / (255 * recipe.std)).sub_(recipe.mean / recipe.std)


def batch_loss(model: MaskedAutoencoder, batch: Batch, recipe: Recipe) -> float:
    """Add the gradients of a batch's mean loss to ``.grad``; return that loss.

    In bfloat16 the products run on weights rounded once per part; gradients add up in float32 on the weights kept.
    """
    device = next(model.parameters()).device
    dtype = getattr(torch, recipe.precision)
    total = 0.0
    for patches, order in zip(
        np.split(batch.patches, recipe.accumulate), np.split(batch.order, recipe.accumulate), strict=True
    ):
        inputs = normalized(patches, recipe, device).to(dtype)
        weights = {name: weight.to(dtype) for name, weight in model.named_parameters()}
        loss = functional_call(model, weights, (inputs, torch.from_numpy(order).to(device))) / recipe.accumulate
        loss.backward()
        total += loss.item()
    return total


def train_epoch(
    model: MaskedAutoencoder,
    optimizer: torch.optim.Optimizer,
    images: PixelSource,
    recipe: Recipe,
    epoch: int,
    *,
    workers: int,
    on_step: Callable[[StepReport], None],
) -> float:
    """Train one pass; return its mean loss."""
    model.train()
    steps = len(epoch_rows(recipe, len(images), epoch))
    started, total, seen = time.perf_counter(), 0.0, 0
    for step, batch in enumerate(epoch_batches(images, recipe, epoch, workers)):
        rate = recipe.learning_rate_at(epoch + (step + 1) / steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        total += batch_loss(model, batch, recipe)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen += len(batch.order)
        elapsed = time.perf_counter() - started
        left = ((recipe.epochs - epoch) * steps - step - 1) * elapsed / (step + 1)
        on_step(StepReport(epoch, step + 1, steps, total / (step + 1), rate, seen / elapsed, left))
    return total / steps


def pretrain(
    images: PixelSource,
    recipe: Recipe,
    out: Path,
    *,
    device: str = "cpu",
    workers: int = 1,
    start: nn.Module | None = None,
    on_step: Callable[[StepReport], None] = lambda report: None,
    on_epoch: Callable[[MaskedAutoencoder, Recipe, Progress], None] = lambda model, recipe, progress: None,
) -> tuple[MaskedAutoencoder, Progress]:
    """Pretrain, or carry on where a killed run's state is.

    Parameters
    ----------
    images
        Source of RGB images; labels are never looked at.
    recipe
        All numbers of the run. A state in ``out`` must have been made with the same, but for the number of epochs:
        with another one, the rest of the run follows the new cosine, and the progress says so.
    out
        Folder of the state, existing.
    device
        ``cpu`` or ``cuda``.
    workers
        Threads that cut crops.
    start
        Encoder whose weights the run begins with, of the recipe's architecture; its schedule begins anew.
    on_step, on_epoch
        Called after each step and after each epoch's state is safe.

    Returns
    -------
    The model and its progress. On the CPU, with one number of threads, a resumed run equals an uninterrupted one
    bit for bit.

    Raises
    ------
    InputError
        If there are no images, or the state in ``out`` is damaged or another recipe's.
    """
    earlier = earlier_progress(out, recipe, images)
    model = MaskedAutoencoder(recipe)
    progress = earlier or Progress(0, (), 0.0, images.fingerprint)
    state = out / STATE_FILE
    if earlier is None and start is not None:
        place_weights(model.encoder, start.state_dict(), "start")
        progress = replace(progress, schedule="a new cosine from the weights of another encoder")
    model.to(device)
    if device == "cpu":
        model.prefer_plain_attention()
    optimizer = build_optimizer(model, recipe)
    if earlier is not None:
        restore(model, optimizer, load_state(state)[0])
    while progress.epochs_done < recipe.epochs:
        started = time.perf_counter()
        loss = train_epoch(model, optimizer, images, recipe, progress.epochs_done, workers=workers, on_step=on_step)
        progress = replace(
            progress,
            epochs_done=progress.epochs_done + 1,
            losses=(*progress.losses, loss),
            seconds=progress.seconds + time.perf_counter() - started,
        )
        save_state(state, model, optimizer, recipe, progress)
        on_epoch(model, recipe, progress)
    return model, progress
