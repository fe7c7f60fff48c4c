"""A trained model in one file: all that it takes to condense, export or use it.

The file is safetensors. Its tensors are the parameters under their own names, ``standardizer.…``, and ``mask.…`` for
weights of which some are dead; the header holds the rest. Reading it takes neither a server nor a run's folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.errors import InputError
from fl_sparse.features.statistics import Standardizer
from fl_sparse.model.mlp import MLPSpec
from fl_sparse.nested_names import under, without
from fl_sparse.tensor_file import read_tensors, write_tensors

FORMAT, VERSION = "fl-sparse model", 2
"""Files of version 1 have neither in their header, and of the encoder only name and pooling."""
STANDARDIZER, MASK = "standardizer.", "mask."


@dataclass(frozen=True)
class EncoderUse:
    """The encoder that turns images into the features that the head reads.

    Parameters
    ----------
    name
        As in the configuration: ``shipped``, a timm name, or a file.
    pooling
        Which of the encoder's outputs the head reads.
    digest
        Hex SHA-256 that tells encoders apart; "" if it is not known.
    image_size, patch_size, width
        Pixels on a side of the input and of a patch, and values of a token; 0 if they are not known.
    mean, std
        Pixel scaling: red, green and blue on the scale 0..1, less ``mean``, over ``std``; () if not known.
    trained_blocks
        How many of the encoder's last blocks the run has trained; their weights are among the model's parameters.
    precision
        The arithmetic that the features were computed in.
    """

    name: str
    pooling: str
    digest: str = ""
    image_size: int = 0
    patch_size: int = 0
    width: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    trained_blocks: int = 0
    precision: str = "float32"


@dataclass(frozen=True)
class TrainedModel:
    """A classifier on an encoder's features.

    Parameters
    ----------
    encoder
        The encoder that computes the features.
    network
        The head's sizes and functions.
    parameters
        The head's values.
    classes
        The classes' names, in the order of the outputs.
    round
        The round whose values these are.
    standardizer
        Applied to features before the head; None if the head reads features as they are.
    masks
        Parameter -> bool of its shape, True where a weight is alive; a parameter that is not named is dense.
    """

    encoder: EncoderUse
    network: MLPSpec
    parameters: Mapping[str, NDArray[np.float32]] = field(repr=False)
    classes: tuple[str, ...]
    round: int
    standardizer: Standardizer | None = field(default=None, repr=False)
    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict, repr=False)


def write_model(path: Path, model: TrainedModel) -> None:
    """Write a model's file; equal models give equal bytes."""
    tensors: dict[str, NDArray[Any]] = {name: np.ascontiguousarray(values) for name, values in model.parameters.items()}
    if model.standardizer is not None:
        tensors[STANDARDIZER + "mean"] = model.standardizer.mean
        tensors[STANDARDIZER + "inverse_std"] = model.standardizer.inverse_std
    tensors |= {MASK + name: np.ascontiguousarray(mask, dtype=np.uint8) for name, mask in model.masks.items()}
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "classes": "\n".join(model.classes),
        "activation": model.network.activation,
        "normalization": model.network.normalization,
        "round": str(model.round),
        # Repeat these two where version 1 has them.
        "encoder": model.encoder.name,
        "pooling": model.encoder.pooling,
        "encoder-use": json.dumps(asdict(model.encoder), sort_keys=True),
    }
    write_tensors(path, tensors, metadata)


def read_model(path: Path) -> TrainedModel:
    """Read a model's file, of this version or an earlier one.

    Raises
    ------
    InputError
        If the file is missing, damaged, no model, or of a later version.
    """
    tensors, metadata = read_tensors(path)
    version = _version(path, metadata)
    try:
        encoder = EncoderUse(metadata["encoder"], metadata["pooling"])
        if version > 1:
            encoder = _encoder_use(json.loads(metadata["encoder-use"]))
        parameters = without(without(tensors, STANDARDIZER), MASK)
        standardizer = under(tensors, STANDARDIZER)
        network = MLPSpec.of_parameters(
            parameters, activation=metadata["activation"], normalization=metadata["normalization"]
        )
        return TrainedModel(
            encoder,
            network,
            parameters,
            tuple(metadata["classes"].split("\n")),
            int(metadata["round"]),
            Standardizer(**standardizer) if standardizer else None,
            {name: mask.astype(np.bool_) for name, mask in under(tensors, MASK).items()},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: no model of fl-sparse, or a damaged one: {error}") from None


def _version(path: Path, metadata: Mapping[str, str]) -> int:
    if "format" not in metadata and "encoder" in metadata:
        return 1
    found = metadata.get("version", "")
    if metadata.get("format") != FORMAT or not found.isdecimal():
        raise InputError(f"{path}: no model of fl-sparse; expected a header with format {FORMAT!r}")
    if int(found) > VERSION:
        raise InputError(f"{path}: a model of version {found}; this fl-sparse reads up to {VERSION}")
    return int(found)


def _encoder_use(values: dict[str, Any]) -> EncoderUse:
    """Return the encoder in a header's JSON; keys that this version does not know are left out."""
    known = {entry.name: values[entry.name] for entry in fields(EncoderUse) if entry.name in values}
    return EncoderUse(**known | {key: tuple(known[key]) for key in ("mean", "std") if key in known})
