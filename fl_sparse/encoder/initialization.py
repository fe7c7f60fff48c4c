"""An encoder's weights before training, drawn from one generator.

After He et al., CVPR 2022, and their code: Xavier-uniform products (the patch projection as a matrix), tokens
N(0, 0.02²), and fixed sine-cosine positions.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

TOKEN_DEVIATION = 0.02


def sincos_positions(width: int, side: int) -> NDArray[np.float64]:
    """Return fixed 2-D sine-cosine position embeddings (1 + side², width); the first row, a class token's, is zero.

    The first half of the width encodes the column, the second half the row, each as sines then cosines of the
    frequencies 10000^(−i/(width/4)).
    """
    frequency = 1.0 / 10000 ** (np.arange(width // 4) / (width / 4))
    row, column = np.divmod(np.arange(side * side), side)
    angles = [np.outer(axis, frequency) for axis in (column, row)]
    table = np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=1)
    return np.concatenate([np.zeros((1, width)), table])


@torch.no_grad()
def initialize_products(module: nn.Module, draw: torch.Generator) -> None:
    """Set every linear layer, convolution and layer normalisation of a module."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.xavier_uniform_(layer.weight.view(layer.weight.shape[0], -1), generator=draw)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.LayerNorm):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


@torch.no_grad()
def initialize_tokens(encoder: nn.Module, draw: torch.Generator) -> None:
    """Set class and register tokens, and the position table, which stays fixed; prefix tokens have zero position."""
    for token in (encoder.cls_token, encoder.reg_token):
        if isinstance(token, Tensor):
            nn.init.normal_(token, std=TOKEN_DEVIATION, generator=draw)
    position = encoder.pos_embed
    if isinstance(position, nn.Parameter):
        side: int = encoder.patch_embed.grid_size[0]  # type: ignore[index, union-attr, assignment]
        width = position.shape[-1]
        position.zero_()
        position[0, position.shape[1] - side * side :] = torch.from_numpy(sincos_positions(width, side)[1:]).float()
        position.requires_grad_(False)


def initialize_encoder(encoder: nn.Module, draw: torch.Generator) -> None:
    """Set all weights of a timm ViT without a head."""
    initialize_products(encoder, draw)
    initialize_tokens(encoder, draw)
