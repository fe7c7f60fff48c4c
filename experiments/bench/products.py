"""The batched matrix products of a round and nothing else: what a round's time is held against.

Symbols: A clients of a round, b examples of a batch, widths H_0 (the features) to H_L (the classes).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

RATE = 1e-9
"""Step size of the updates: small, so that values stay finite however often the products are repeated."""


class BareProducts:
    """Forward, backward and in-place update of a stack of MLPs, on random weights that stay where they are.

    Left out of a round: gathering batches, biases, activations, the loss, cutting subnets out and stacking them,
    messages, checks, averaging, and all bookkeeping.
    """

    def __init__(self, stack: int, batch: int, widths: Sequence[int], steps: int, device: str = "cpu") -> None:
        import torch

        def normal(*shape: int) -> Any:
            return torch.randn(shape, device=device)

        self._steps, self._device = steps, device
        self._weights = [normal(stack, out, inner) * 0.03 for inner, out in itertools.pairwise(widths)]
        self._hidden = [normal(stack, batch, width) for width in widths]
        self._gradients = [normal(stack, batch, width) for width in widths[1:]]

    def __call__(self) -> None:
        """Compute all steps of a round."""
        import torch

        last = len(self._weights) - 1
        for _ in range(self._steps):
            for layer, weight in enumerate(self._weights):
                torch.bmm(self._hidden[layer], weight.swapaxes(1, 2), out=self._hidden[layer + 1])
            for layer in range(last, -1, -1):
                if layer:
                    torch.bmm(self._gradients[layer], self._weights[layer], out=self._gradients[layer - 1])
                self._weights[layer].baddbmm_(self._gradients[layer].swapaxes(1, 2), self._hidden[layer], alpha=-RATE)
        if self._device != "cpu":
            torch.cuda.synchronize()
