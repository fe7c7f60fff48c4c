"""Turn published MAE checkpoints (PyTorch files) into encoders of this library.

Official files hold a dictionary with a ``model`` key, whose names are timm's: the encoder's, and in the files for
visualisation the decoder's and the mask token beside them.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fl_sparse.encoder.export import save_encoder
from fl_sparse.encoder.header import EncoderHeader
from fl_sparse.encoder.load import build_model, place_weights
from fl_sparse.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
NOT_THE_ENCODER = ("decoder_", "mask_token", "head.")
"""What the names of tensors start with that are left out."""


def encoder_tensors(path: Path) -> dict[str, Tensor]:
    """Return the encoder's tensors of a PyTorch file, read without unpickling any code.

    Raises
    ------
    InputError
        If the file is missing or damaged, holds more than tensors and plain values, or no weights.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    try:
        # Training checkpoints also hold the arguments of their run, which are plain values.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise many types, from zip files, pickles and tensors
        # Its own words are left out: they advise to unpickle, which is never done here.
        raise InputError(f"{path}: not a PyTorch file of tensors alone ({type(error).__name__})") from error
    state = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path}: expected tensors by name, under the key 'model' or at the top")
    return {name: value for name, value in state.items() if not name.startswith(NOT_THE_ENCODER)}


def convert_checkpoint(
    path: Path,
    out: Path,
    *,
    architecture: str,
    options: Mapping[str, int],
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
    data: str = "",
    dtype: torch.dtype = torch.float16,
) -> EncoderHeader:
    """Write the encoder of an official checkpoint, with a header.

    Parameters
    ----------
    path, out
        The PyTorch file and the safetensors file to write.
    architecture, options
        timm's name and what ``timm.create_model`` is given beside it, such as ``img_size``.
    mean, std
        How its pixels were normalised; the official ones were with ImageNet's.
    data
        What it was trained on, for the header.
    dtype
        Type of the weights in the file.

    Raises
    ------
    InputError
        If the file cannot be read, or its tensors are not the architecture's: missing and unexpected ones are named.
    """
    tensors = encoder_tensors(path)
    model: Any = build_model(architecture, options, architecture)
    place_weights(model, tensors, str(path))
    embed = model.patch_embed
    header = EncoderHeader(
        architecture=architecture,
        options=dict(options),
        image_size=int(embed.img_size[0]),
        patch_size=int(embed.patch_size[0]),
        width=int(model.embed_dim),
        mean=mean,
        std=std,
        data=data,
        source=path.name,
    )
    save_encoder(out, model, header, dtype=dtype)
    return header
