"""Leave blocks off the end of a trained encoder: a smaller and faster one, whose worth `probe` tells.

A masked autoencoder's last blocks prepare what its decoder needs, and classes may be read as well, or better, before
them. The final layer normalisation follows the last block that is kept.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fl_sparse.encoder.export import save_encoder
from fl_sparse.encoder.header import EncoderHeader, read_header
from fl_sparse.encoder.load import build_model, load_encoder, place_weights
from fl_sparse.encoder.spec import EncoderSpec
from fl_sparse.errors import InputError


def cut_encoder(name: str, out: Path, *, blocks: int, dtype: torch.dtype = torch.float16) -> EncoderHeader:
    """Write the first blocks of an encoder as an encoder of its own.

    Parameters
    ----------
    name
        As in `load_encoder`.
    out
        The safetensors file to write.
    blocks
        How many blocks are kept.
    dtype
        Type of the weights in the file.

    Raises
    ------
    InputError
        As `load_encoder`, or if the encoder has no more blocks than that.
    """
    encoder = load_encoder(name)
    model: Any = encoder.model
    depth = len(model.blocks)
    if not 1 <= blocks < depth:
        raise InputError(f"--blocks {blocks}: {name} has {depth} blocks; expected 1 to {depth - 1}")
    whole = _header(encoder.spec)
    kept = f"the first {blocks} of {depth} blocks"
    header = replace(
        whole,
        options={**whole.options, "depth": blocks},
        schedule="; ".join(part for part in (whole.schedule, kept) if part),
    )
    shorter = build_model(header.architecture, header.options, name)
    left_off = tuple(f"blocks.{number}." for number in range(blocks, depth))
    place_weights(
        shorter, {key: held for key, held in model.state_dict().items() if not key.startswith(left_off)}, name
    )
    save_encoder(out, shorter, header, dtype=dtype)
    return header


def _header(spec: EncoderSpec) -> EncoderHeader:
    if spec.path is not None:
        return read_header(spec.path)
    return EncoderHeader(
        architecture=spec.architecture,
        options=spec.options,
        image_size=spec.image_size,
        patch_size=spec.patch_size,
        width=spec.width,
        mean=spec.mean,
        std=spec.std,
        source=spec.name,
    )
