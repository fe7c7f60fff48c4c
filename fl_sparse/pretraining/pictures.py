"""Two pictures of a run: what it reconstructs, and its loss.

Shapes: n images · N patches of an image · P values in a patch.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fl_sparse.patches import grid, patchify, unpatchify
from fl_sparse.pretraining.autoencoder import TARGET_EPSILON, MaskedAutoencoder, gather_patches
from fl_sparse.pretraining.crops import PixelSource
from fl_sparse.pretraining.recipe import Recipe
from fl_sparse.rng import Purpose, generator

GREY = 128
SHOWN = 8
"""Images in a picture, the first of the data."""
SMALLEST_SIDE = 96
"""Pixels on a side an image is at least drawn with."""


def whole_images(images: PixelSource, size: int) -> NDArray[np.uint8]:
    """Return the first images as uint8 (n, size, size, 3), uncropped."""
    from fl_sparse.data.images import resize_pixels

    return np.stack([resize_pixels(images.pixels(index), size) for index in range(min(SHOWN, len(images)))])


@torch.no_grad()
def reconstruction(
    model: MaskedAutoencoder, recipe: Recipe, pixels: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return images with their hidden patches grey, and with these as the model paints them.

    Parameters
    ----------
    model, recipe
        The autoencoder, predicting normalised patches; each is drawn with the true patch's mean and deviation.
    pixels
        uint8 (n, H, W, 3). The masks are drawn from the seed alone, so that epochs can be compared.

    Returns
    -------
    Two arrays uint8 (n, H, W, 3).
    """
    device = next(model.parameters()).device
    patches = patchify(pixels, recipe.patch_size)
    order = np.argsort(generator(Purpose.PRETRAIN_MASK, recipe.seed).random(patches.shape[:2]), axis=1)
    places = torch.from_numpy(order).to(device)
    inputs = (torch.from_numpy(patches).to(device).float() / 255 - recipe.mean) / recipe.std
    model.eval()
    predicted = model.reconstruct(inputs, places).float()
    true = gather_patches(inputs, places[:, model.visible :])
    painted = predicted * (true.var(-1, keepdim=True) + TARGET_EPSILON).sqrt() + true.mean(-1, keepdim=True)
    painted = ((painted * recipe.std + recipe.mean) * 255).round().clamp(0, 255)
    hidden = order[:, model.visible :, None]
    shape = grid(recipe.image_size, recipe.patch_size)
    results = []
    for values in (np.uint8(GREY), painted.cpu().numpy().astype(np.uint8)):
        filled = patches.copy()
        np.put_along_axis(filled, hidden, values, axis=1)
        results.append(unpatchify(filled, recipe.patch_size, shape))
    return results[0], results[1]


def draw_reconstruction(path: Path, rows: Sequence[NDArray[np.uint8]]) -> None:
    """Write a PNG of rows of images (n, H, W, 3): original, masked, reconstructed."""
    from PIL import Image

    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    enlarged = max(1, SMALLEST_SIDE // rows[0].shape[1])
    size = (sheet.shape[1] * enlarged, sheet.shape[0] * enlarged)
    Image.fromarray(sheet).resize(size, Image.Resampling.NEAREST).save(path)


def draw_losses(path: Path, losses: Sequence[float]) -> None:
    """Write a PNG of the mean loss of each epoch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(range(1, len(losses) + 1), losses, marker="." if len(losses) < 60 else "")
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean squared error, hidden patches")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
