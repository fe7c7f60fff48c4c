"""The masked autoencoder: timm's ViT on visible patches, a light decoder, and the loss on the hidden ones.

Shapes: B images in a batch · N patches of an image · K patches kept · P values in a patch · D encoder width ·
E decoder width. ``order`` (B, N) is a permutation of the patches of each image: the first K are visible.
"""

from typing import Any

import torch
from torch import Tensor, nn

from fl_sparse.encoder.initialization import (
    TOKEN_DEVIATION,
    initialize_products,
    initialize_tokens,
    sincos_positions,
)
from fl_sparse.encoder.load import build_model
from fl_sparse.encoder.visible import encode_visible
from fl_sparse.pretraining.recipe import Recipe

TARGET_EPSILON = 1e-6
"""Added to a patch's variance before the square root (He et al.'s code)."""
SHORT_SEQUENCE = 128
"""Tokens up to which plain attention trains faster than the fused kernel on a CPU (seen at 17 and 65)."""


def patch_target(patches: Tensor) -> Tensor:
    """Return each patch (…, P) with its own mean removed, divided by its own deviation (unbiased variance + 1e-6)."""
    mean = patches.mean(dim=-1, keepdim=True)
    variance = patches.var(dim=-1, keepdim=True)
    return (patches - mean) / (variance + TARGET_EPSILON).sqrt()


class MaskedAutoencoder(nn.Module):
    """Encoder and decoder of He et al., CVPR 2022; only ``encoder`` is kept after pretraining.

    Parameters
    ----------
    recipe
        Its ``seed`` fixes the initial weights.
    """

    encoder: Any

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        from timm.models.vision_transformer import Block

        self.visible = recipe.visible_patches
        self.encoder = build_model(recipe.model, encoder_options(recipe), recipe.model)
        side = recipe.image_size // recipe.patch_size
        width = recipe.decoder_width
        self.decoder_embed = nn.Linear(self.encoder.embed_dim, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_blocks = nn.Sequential(
            *[Block(width, recipe.decoder_heads, qkv_bias=True) for _ in range(recipe.decoder_depth)]
        )
        self.decoder_norm = nn.LayerNorm(width)
        self.decoder_head = nn.Linear(width, 3 * recipe.patch_size**2)
        positions = torch.from_numpy(sincos_positions(width, side)).float()[None]
        self.decoder_position = nn.Parameter(positions, requires_grad=False)
        draw = torch.Generator().manual_seed(recipe.seed)
        initialize_products(self, draw)
        initialize_tokens(self.encoder, draw)
        nn.init.normal_(self.mask_token, std=TOKEN_DEVIATION, generator=draw)

    def prefer_plain_attention(self) -> None:
        """Leave the fused kernel where sequences are short: on a CPU its backward took a third of the time."""
        blocks: tuple[Any, ...] = (*self.encoder.blocks, *self.decoder_blocks)
        for block in blocks:
            block.attn.fused_attn = block.attn.fused_attn and self.decoder_position.shape[1] > SHORT_SEQUENCE

    def reconstruct(self, patches: Tensor, order: Tensor) -> Tensor:
        """Return the decoder's prediction of the hidden patches, (B, N−K, P), in the order of ``order[:, K:]``."""
        kept = order[:, : self.visible]
        prefix = self.encoder.num_prefix_tokens
        tokens = encode_visible(self.encoder, gather_patches(patches, kept), kept)
        tokens = self.decoder_embed(tokens)
        hidden = self.mask_token.expand(tokens.shape[0], order.shape[1] - self.visible, -1)
        position = self.decoder_position
        lead = [tokens[:, :1] + position[:, :1]] if prefix else []
        tokens = torch.cat([*lead, torch.cat([tokens[:, prefix:], hidden], dim=1) + position[0, 1:][order]], dim=1)
        tokens = self.decoder_blocks(tokens)[:, len(lead) + self.visible :]
        predicted: Tensor = self.decoder_head(self.decoder_norm(tokens))
        return predicted

    def forward(self, patches: Tensor, order: Tensor) -> Tensor:
        """Return the scalar loss: mean squared error over hidden patches, target normalised per patch, in float32.

        ``patches`` is float (B, N, P) of normalised pixels, ``order`` int64 (B, N).
        """
        predicted = self.reconstruct(patches, order)
        target = patch_target(gather_patches(patches, order[:, self.visible :]).float())
        return (predicted.float() - target).square().mean()


def encoder_options(recipe: Recipe) -> dict[str, int]:
    """Return the options of ``timm.create_model`` that a recipe sets."""
    sizes = {"img_size": recipe.image_size, "patch_size": recipe.patch_size}
    return sizes | {"depth": recipe.blocks} if recipe.blocks else sizes


def gather_patches(patches: Tensor, indices: Tensor) -> Tensor:
    """Return ``patches[b, indices[b, j]]``: (B, N, P) and int64 (B, J) to (B, J, P)."""
    return torch.gather(patches, 1, indices[..., None].expand(-1, -1, patches.shape[-1]))
