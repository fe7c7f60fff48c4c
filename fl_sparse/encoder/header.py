"""What an encoder's file says about itself: the header of its safetensors file.

PyTorch is not imported: a device may need an encoder's patch size alone.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from fl_sparse.errors import InputError
from fl_sparse.tensor_file import read_metadata

FORMAT = "fl-sparse encoder 1"


@dataclass(frozen=True)
class EncoderHeader:
    """Where an encoder comes from and how its input is prepared."""

    architecture: str
    """timm's name of the model."""
    options: Mapping[str, int | float | str | bool]
    """What ``timm.create_model`` is given beside the name; the head is always left out."""
    image_size: int
    """Pixels on a side of the input."""
    patch_size: int
    """Pixels on a side of a patch."""
    width: int
    """D, values of a token."""
    mean: tuple[float, float, float]
    """Subtracted from red, green and blue, on the scale 0..1."""
    std: tuple[float, float, float]
    """Divides each channel afterwards."""
    data: str = ""
    """What the weights were trained on."""
    recipe: Mapping[str, int | float | str] | None = None
    """Every number of the training run, where it was ours."""
    epochs: int = 0
    """Passes over the data."""
    schedule: str = ""
    """What differed from one uninterrupted schedule."""
    commit: str = ""
    """Commit of this repository the training ran from."""
    source: str = ""
    """File or address the weights were converted from."""


def to_metadata(header: EncoderHeader) -> dict[str, str]:
    """Return a header as safetensors metadata: strings by field, structured values as JSON."""
    return {"format": FORMAT, **{name: json.dumps(value) for name, value in asdict(header).items()}}


def from_metadata(path: Path, metadata: Mapping[str, str]) -> EncoderHeader:
    """Return the header that a file's metadata holds.

    Raises
    ------
    InputError
        If the metadata is not an encoder's.
    """
    found = metadata.get("format")
    if found != FORMAT:
        raise InputError(f"{path}: not an encoder; expected a safetensors header with format {FORMAT!r}, not {found!r}")
    names = [field.name for field in fields(EncoderHeader)]
    missing = [name for name in names if name not in metadata]
    if missing:
        raise InputError(f"{path}: the encoder's header lacks {', '.join(missing)}")
    try:
        values = {name: json.loads(metadata[name]) for name in names}
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: the encoder's header is damaged ({error})") from error
    values["mean"], values["std"] = tuple(values["mean"]), tuple(values["std"])
    return EncoderHeader(**values)


def read_header(path: Path) -> EncoderHeader:
    """Return the header of an encoder's file.

    Raises
    ------
    InputError
        If the file is missing, truncated, or no encoder.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such encoder file")
    return from_metadata(path, read_metadata(path))
