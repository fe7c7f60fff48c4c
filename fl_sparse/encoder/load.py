"""Load a frozen encoder by name, with its weights verified."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fl_sparse.encoder.spec import EncoderSpec, encoder_spec
from fl_sparse.errors import InputError
from fl_sparse.tensor_file import read_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from fl_sparse.encoder.frozen import Encoder

HALF = 0.5
Channels = tuple[float, float, float]


def parse_normalization(text: str, spec: EncoderSpec) -> tuple[Channels, Channels]:
    """Return mean and deviation of red, green and blue, on the scale 0..1.

    Parameters
    ----------
    text
        ``model`` for the encoder's own, ``half`` for 0.5 and 0.5 (Kariotakis et al., CPAL 2024, §4), two numbers
        ``mean,std``, or six: three means, three deviations.
    spec
        The encoder.

    Raises
    ------
    InputError
        If the text is none of these, or a deviation is not positive.
    """
    if text == "model":
        return spec.mean, spec.std
    if text == "half":
        return (HALF,) * 3, (HALF,) * 3
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 2:
        numbers = [numbers[0]] * 3 + [numbers[1]] * 3
    if len(numbers) != 6 or not all(map(math.isfinite, numbers)) or min(numbers[3:]) <= 0:
        raise InputError(
            f"encoder normalization {text!r}: expected 'model', 'half', 'MEAN,STD', or three means and three deviations"
        )
    red, green, blue, *deviation = numbers
    return (red, green, blue), (deviation[0], deviation[1], deviation[2])


def load_encoder(name: str, *, normalization: str = "model", device: str = "cpu") -> Encoder:
    """Load an encoder, frozen and in evaluation mode.

    Parameters
    ----------
    name
        ``shipped``, a timm name such as ``vit_base_patch16_224.mae``, or the path of a ``.safetensors`` file.
    normalization
        How pixels are scaled, see `parse_normalization`.
    device
        PyTorch device the weights go to.

    Raises
    ------
    InputError
        If the name is unknown, the file damaged or its tensors not the architecture's, the shipped file not the pinned
        one, or timm's hub out of reach.
    """
    from fl_sparse.encoder.frozen import Encoder

    spec = encoder_spec(name)
    mean, std = parse_normalization(normalization, spec)
    if spec.path is None:
        model = _from_hub(spec)
    else:
        model = build_model(spec.architecture, spec.options, name)
        place_weights(model, read_tensors(spec.path, framework="pt")[0], name)
    return Encoder(spec, model.to(device), mean=mean, std=std)


def untrained_encoder(spec: EncoderSpec, *, seed: int, normalization: str = "model", device: str = "cpu") -> Encoder:
    """Return the same architecture as it is before pretraining: the baseline of every probe."""
    import torch

    from fl_sparse.encoder.frozen import Encoder
    from fl_sparse.encoder.initialization import initialize_encoder

    model = build_model(spec.architecture, spec.options, spec.name)
    initialize_encoder(model, torch.Generator().manual_seed(seed))
    mean, std = parse_normalization(normalization, spec)
    return Encoder(spec, model.to(device), mean=mean, std=std)


def build_model(architecture: str, options: Mapping[str, Any], name: str) -> nn.Module:
    """Return timm's ViT without a head and without trained weights.

    Raises
    ------
    InputError
        If timm does not know the architecture or an option, or the model is no plain ViT.
    """
    import timm

    from fl_sparse.encoder.visible import check_supported

    try:
        model: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=0, **options)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"{name}: timm builds no {architecture!r} with options {dict(options)} ({error})") from error
    check_supported(model, name)
    return model


def place_weights(model: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """Put tensors in a model, converted to its types; all must be there, and no others.

    Raises
    ------
    InputError
        Naming tensors that are missing, unexpected, or of another shape.
    """
    check_tensors(model, tensors, name)
    model.load_state_dict(dict(tensors))


def check_tensors(model: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """Refuse tensors as `place_weights` does, and place none: the model may have shapes alone."""
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in tensors.items()}
    wrong = {
        "missing": sorted(expected.keys() - found.keys()),
        "unexpected": sorted(found.keys() - expected.keys()),
        "of another shape": [
            f"{key} {found[key]} instead of {expected[key]}"
            for key in sorted(expected.keys() & found.keys())
            if expected[key] != found[key]
        ],
    }
    if any(wrong.values()):
        parts = [f"{_some(keys)} {what}" for what, keys in wrong.items() if keys]
        raise InputError(f"{name}: tensors do not fit {type(model).__name__}: {'; '.join(parts)}")


def _some(keys: list[str], shown: int = 4) -> str:
    rest = f" and {len(keys) - shown} more" if len(keys) > shown else ""
    return ", ".join(keys[:shown]) + rest


def _from_hub(spec: EncoderSpec) -> nn.Module:
    import timm

    try:
        model: nn.Module = timm.create_model(spec.architecture, pretrained=True, num_classes=0)
    except Exception as error:  # the hub's client raises many unrelated types when it is out of reach
        reason = str(error).split("\n")[0]
        raise InputError(
            f"encoder {spec.name!r}: its weights are not in the local cache and timm's hub cannot be reached "
            f"({type(error).__name__}: {reason})"
        ) from error
    return model
