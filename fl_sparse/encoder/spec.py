"""What an encoder's name stands for: sizes, normalisation, and the identity of its weights."""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from fl_sparse.encoder import shipped
from fl_sparse.encoder.header import EncoderHeader, read_header
from fl_sparse.errors import InputError, nearest

SHIPPED = "shipped"
SHIPPED_FILE = "encoder.safetensors"


@dataclass(frozen=True)
class EncoderSpec:
    """A frozen encoder, before its weights are loaded."""

    name: str
    """As the user gave it."""
    architecture: str
    """timm's name of the model."""
    options: Mapping[str, int | float | str | bool]
    """What ``timm.create_model`` is given beside the name."""
    image_size: int
    """Pixels on a side of the input."""
    patch_size: int
    """p, pixels on a side of a patch."""
    width: int
    """D, values of a token."""
    mean: tuple[float, float, float]
    """The model's own mean of red, green and blue, on the scale 0..1."""
    std: tuple[float, float, float]
    """The model's own deviation of each channel."""
    digest: str
    """Hex SHA-256: of the file; for a timm name, of the hub's address, file and normalisation."""
    path: Path | None = None
    """The weights' file, or None for timm's hub."""


def encoder_spec(name: str) -> EncoderSpec:
    """Return what is known of an encoder without loading it.

    Parameters
    ----------
    name
        ``shipped``, a timm name such as ``vit_base_patch16_224.mae``, or the path of a ``.safetensors`` file.

    Returns
    -------
    The specification. Neither PyTorch nor timm is imported for the shipped encoder and for files.

    Raises
    ------
    InputError
        If the name is unknown, the file is missing, damaged or no encoder, or the shipped file is not the pinned one.
    """
    if name == SHIPPED:
        with as_file(files(shipped) / SHIPPED_FILE) as path:
            spec = file_spec(name, path)
        if spec.digest != shipped.SHA256:
            raise InputError(
                f"{spec.path}: the shipped encoder is damaged or replaced: SHA-256 {spec.digest[:12]}… is not the "
                f"pinned {shipped.SHA256[:12]}…; reinstall fl-sparse"
            )
        return spec
    if name.endswith(".safetensors"):
        return file_spec(name, Path(name))
    if name.endswith((".pth", ".pt", ".bin")):
        raise InputError(f"{name}: not a safetensors file; convert it with 'python -m fl_sparse convert {name}'")
    return hub_spec(name)


def file_spec(name: str, path: Path) -> EncoderSpec:
    """Return the specification in a file's header; its digest is the file's SHA-256."""
    header = read_header(path)
    return _from_header(name, header, path, file_digest(path))


def _from_header(name: str, header: EncoderHeader, path: Path, digest: str) -> EncoderSpec:
    return EncoderSpec(
        name=name,
        architecture=header.architecture,
        options=header.options,
        image_size=header.image_size,
        patch_size=header.patch_size,
        width=header.width,
        mean=header.mean,
        std=header.std,
        digest=digest,
        path=path,
    )


def file_digest(path: Path) -> str:
    """Return the hex SHA-256 of a file, remembered while its size and time of change stay."""
    status = path.stat()
    return _file_digest(path.resolve(), status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _file_digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@functools.lru_cache(maxsize=8)
def hub_spec(name: str) -> EncoderSpec:
    """Return the specification of a pretrained ViT of timm's hub, without downloading it.

    Raises
    ------
    InputError
        If timm knows no such name, it has no pretrained weights, or it is no plain ViT with square RGB input.
    """
    import timm
    import torch

    from fl_sparse.encoder.visible import check_supported

    architecture = name.split(".")[0]
    if not timm.is_model(architecture):
        known = (SHIPPED, *timm.list_models("*vit*", pretrained=True))
        close = nearest(name, known)
        hint = close if close.startswith("; did") else "; expected 'shipped', a timm ViT, or a .safetensors file"
        raise InputError(f"encoder {name!r} is unknown{hint}")
    config = timm.get_pretrained_cfg(name, allow_unregistered=False) if timm.is_model_pretrained(name) else None
    if config is None or not config.has_weights:
        tags = timm.list_models(f"{architecture}.*", pretrained=True)
        raise InputError(f"encoder {name!r} has no pretrained weights{nearest(name, tags) if tags else ''}")
    with torch.device("meta"):
        model: Any = timm.create_model(name, pretrained=False, num_classes=0)
    check_supported(model, name)
    channels, height, width = config.input_size
    if channels != 3 or height != width:
        raise InputError(f"encoder {name!r} takes input {config.input_size}; expected a square RGB image")
    identity = f"{config.hf_hub_id} {config.hf_hub_filename} {config.url} {config.mean} {config.std}"
    return EncoderSpec(
        name=name,
        architecture=name,
        options={},
        image_size=int(model.patch_embed.img_size[0]),
        patch_size=int(model.patch_embed.patch_size[0]),
        width=int(model.embed_dim),
        mean=(config.mean[0], config.mean[1], config.mean[2]),
        std=(config.std[0], config.std[1], config.std[2]),
        digest=hashlib.sha256(identity.encode()).hexdigest(),
    )
