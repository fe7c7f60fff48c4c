"""Run a timm vision transformer on visible patches only.

Shapes: B images in a batch · N patches of an image · K patches kept · P values in a patch (3·p²) · D feature width ·
T prefix tokens (class and register tokens).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fl_sparse.errors import InputError


def check_supported(model: nn.Module, name: str = "encoder") -> None:
    """Refuse a model whose tokens this module would not compute as timm does.

    Raises
    ------
    InputError
        If ``model`` is not timm's plain ``VisionTransformer`` on RGB images with square patches, with a position
        embedding of one row per patch.
    """
    from timm.models.vision_transformer import VisionTransformer

    if type(model) is not VisionTransformer:
        raise InputError(f"{name}: a {type(model).__name__} is not supported; expected timm's VisionTransformer")
    projection = model.patch_embed.proj
    if not isinstance(projection, nn.Conv2d):
        raise InputError(
            f"{name}: patch embedding {type(projection).__name__} is not supported; expected a convolution"
        )
    height, width = projection.kernel_size
    if projection.in_channels != 3 or height != width or projection.kernel_size != projection.stride:
        raise InputError(f"{name}: expected square, non-overlapping patches of 3 channels, not {projection}")
    if not isinstance(model.patch_drop, nn.Identity):
        raise InputError(
            f"{name}: option patch_drop_rate is not supported; which patches are kept is given by the mask"
        )


def embed_patches(model: nn.Module, patches: Tensor) -> Tensor:
    """Project patches (B, K, P), values in the order (row, column, channel), to (B, K, D).

    The same numbers as timm's convolution, as one matrix product: the kernel is permuted from (channel, row, column).
    """
    embed: Any = model.patch_embed
    weight: Tensor = embed.proj.weight
    matrix = weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1)
    projected: Tensor = embed.norm(functional.linear(patches, matrix, embed.proj.bias))
    return projected


def encode_visible(model: nn.Module, patches: Tensor, kept: Tensor) -> Tensor:
    """Return the tokens of a frozen or training ViT that sees the kept patches only.

    Parameters
    ----------
    model
        timm's ``VisionTransformer`` (see `check_supported`).
    patches
        float (B, K, P), normalised; values within a patch in the order (row, column, channel).
    kept
        int64 (B, K), each patch's index on the model's grid, 0 ≤ index < N, row-major.

    Returns
    -------
    float (B, T+K, D): prefix tokens (the class token first), then the kept patches in the order given, after the
    model's final normalisation. With all patches kept in order this equals ``model.forward_features``.

    Notes
    -----
    Patch embedding, position, gather, ``norm_pre``, ``blocks``, ``norm``: only T+K tokens enter the blocks, as in
    He et al., Masked Autoencoders Are Scalable Vision Learners, CVPR 2022, §3.
    """
    vit: Any = model
    tokens = embed_patches(model, patches)
    prefix = [token.expand(len(patches), -1, -1) for token in (vit.cls_token, vit.reg_token) if token is not None]
    if vit.pos_embed is not None:
        positions: Tensor = vit.pos_embed[0]
        if vit.no_embed_class:
            prefix_positions = positions[:0]
        else:
            prefix_positions, positions = positions[: vit.num_prefix_tokens], positions[vit.num_prefix_tokens :]
        tokens = tokens + positions[kept]
        lead = torch.cat(prefix, dim=1) + prefix_positions if len(prefix_positions) else None
        prefix = prefix if lead is None else [lead]
    tokens = vit.pos_drop(torch.cat([*prefix, tokens], dim=1))
    encoded: Tensor = vit.norm(vit.blocks(vit.norm_pre(tokens)))
    return encoded
