"""The MLP of `fl_sparse.model.mlp` as a stacked network: the plain counterpart of `fl_sparse.learn.mlp_stack`.

Symbols: A parts in the stack, b rows of a batch, H_l units of hidden layer l, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fl_sparse.learn.task import TrainingJob, mlp_of
from fl_sparse.model.mlp import OUTPUT, SKIP, LayerNames, MLPSpec
from fl_sparse.model.network import NetworkSpec


@dataclass(frozen=True)
class AutogradMLP:
    """MLPs as a kind of network."""

    def spec(self, job: TrainingJob) -> MLPSpec:
        """Return the MLP whose parameters a job trains."""
        return mlp_of(job)

    def forward(
        self,
        spec: NetworkSpec,
        parameters: Mapping[str, Tensor],
        x: Tensor,
        scales: Sequence[Tensor | float],
        present: Sequence[Tensor] | None = None,
        whole_rows: int = 0,
    ) -> Tensor:
        """Return the logits of x (A, b, F), float32 (A, b, C).

        Raises
        ------
        ValueError
            If units are masked under LayerNorm, which would count them.
        """
        if not isinstance(spec, MLPSpec):
            raise TypeError(f"this network is an MLP, not a {type(spec).__name__}")
        if present is not None and spec.normalization != "none":
            raise ValueError("ordered dropout goes with normalization 'none' only")
        h = x
        for layer, names in enumerate(spec.layers[:-1]):
            z = _linear(parameters, names, h, scales[layer])
            if spec.normalization == "layer":
                z = _layer_norm(z, parameters[names.gain], parameters[names.shift])
            h = functional.relu(z) if spec.activation == "relu" else functional.gelu(z, approximate="tanh")
            if present is not None:
                h = _masked(h, present[layer], whole_rows)
        logits = _linear(parameters, OUTPUT, h, scales[-1])
        return logits + _linear(parameters, SKIP, x, 1.0) if spec.skip else logits


def _linear(parameters: Mapping[str, Tensor], names: LayerNames, h: Tensor, scale: Tensor | float) -> Tensor:
    """Return c · W h + b of each part, (A, b, H_l)."""
    if isinstance(scale, Tensor):
        h = h * scale[:, None, None]
    elif scale != 1:
        h = h * scale
    # Multiply by W from the left: W's gradient then has W's layout in memory.
    return torch.baddbmm(parameters[names.bias][:, :, None], parameters[names.weight], h.mT).mT


def _layer_norm(z: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """Return z (A, b, H) normalised over its units, with each part's own gain and shift, (A, H)."""
    return torch.addcmul(shift[:, None], functional.layer_norm(z, z.shape[-1:]), gain[:, None])


def _masked(h: Tensor, present: Tensor, whole_rows: int) -> Tensor:
    """Return h (A, b, H) with zeros for the units left out, in all rows after the first ``whole_rows``."""
    if not whole_rows:
        return h * present
    return torch.cat([h[:, :whole_rows], h[:, whole_rows:] * present], dim=1)
