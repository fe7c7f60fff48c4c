"""A frozen encoder with the scaling of its pixels: from patches of bytes to tokens.

Shapes: B images in a batch · K patches kept · P values in a patch (3·p²) · D feature width · T prefix tokens (class and
register tokens).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl_sparse.encoder.spec import EncoderSpec
from fl_sparse.encoder.visible import encode_visible


class Encoder:
    """A frozen ViT and the scaling of its pixels.

    Parameters
    ----------
    spec
        What the weights are.
    model
        timm's ViT, already holding them.
    mean, std
        Of red, green and blue, on the scale 0..1.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        model: nn.Module,
        *,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        self.spec = spec
        self.model = model.eval().requires_grad_(False)
        self.device = next(model.parameters()).device
        # (x/255 − mean) / std as one multiplication and one subtraction a value.
        values = spec.patch_size**2
        self._scale = 1 / (255 * torch.tensor(std, dtype=torch.float64).repeat(values)).float().to(self.device)
        ratio = torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
        self._shift = ratio.repeat(values).float().to(self.device)

    def normalize(self, patches: Tensor | NDArray[np.uint8]) -> Tensor:
        """Return uint8 patches (B, K, P) as float32 (B, K, P) on the encoder's device, scaled as it expects."""
        return torch.as_tensor(patches).to(self.device).float() * self._scale - self._shift

    def tokens(self, patches: Tensor | NDArray[np.uint8], kept: Tensor | NDArray[np.integer]) -> Tensor:
        """Encode visible patches.

        Parameters
        ----------
        patches
            uint8 (B, K, P), values in the order (row, column, channel).
        kept
            integers (B, K), where on the grid each patch is.

        Returns
        -------
        float32 (B, T+K, D), on the encoder's device: T prefix tokens, the class token first, then the patches'.
        """
        indices = torch.as_tensor(kept).to(self.device, torch.int64)
        with torch.inference_mode():
            return encode_visible(self.model, self.normalize(patches), indices).float()
