"""Write an encoder: weights in half precision and a header that says what they are."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from fl_sparse.atomic_file import whole_file
from fl_sparse.encoder.header import EncoderHeader, to_metadata
from fl_sparse.errors import InputError


def save_encoder(path: Path, model: nn.Module, header: EncoderHeader, *, dtype: torch.dtype = torch.float16) -> None:
    """Write a model's tensors and header; an old file stays whole until the new one is.

    Raises
    ------
    InputError
        If a weight is not finite in ``dtype``, which would make every feature useless.
    """
    tensors = {}
    for name, tensor in model.state_dict().items():
        tensors[name] = tensor.detach().to("cpu", dtype).contiguous()
        if not torch.isfinite(tensors[name]).all():
            raise InputError(f"{path}: tensor {name} is not finite in {dtype}; expected finite weights")
    with whole_file(path) as partial:
        save_file(tensors, partial, metadata=to_metadata(header))
