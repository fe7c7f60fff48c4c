"""What a pretraining run does: every number that changes its result."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from fl_sparse.errors import InputError, nearest
from fl_sparse.masks.spec import kept_count

PRECISIONS = ("float32", "bfloat16")


def usual_warmup(epochs: int) -> float:
    """Return the epochs of warm-up of a run that is given none: a twentieth of all."""
    return epochs / 20


def _value(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True)
class Recipe:
    """Masked-autoencoder pretraining, after He et al., CVPR 2022, Appendix A.1.

    The published rate, 2.4e-3, is for batches of 4,096 and 800 epochs or more; the defaults fit a small machine. Each
    field's ``help`` metadata says what it is.
    """

    model: str = _value("vit_tiny_patch16_224", "timm name of the encoder")
    blocks: int = _value(0, "transformer blocks of the encoder; 0: as many as that model has, or --start-from's file")
    image_size: int = _value(32, "pixels on a side, of the crops and of the encoder's input")
    patch_size: int = _value(4, "pixels on a side of a patch")
    mask_ratio: float = _value(0.75, "share of the patches hidden from the encoder, drawn anew for each image and step")
    decoder_width: int = _value(128, "feature width of the decoder")
    decoder_depth: int = _value(2, "transformer blocks of the decoder")
    decoder_heads: int = _value(4, "attention heads of the decoder; divides its width")
    epochs: int = _value(100, "passes over the images; the cosine ends at zero with the last")
    warmup_epochs: float = _value(5.0, "epochs over which the learning rate rises linearly from zero")
    batch_size: int = _value(256, "images in an optimiser step")
    accumulate: int = _value(1, "equal parts a batch is computed in; more parts take less memory")
    learning_rate: float = _value(1e-3, "peak learning rate of AdamW")
    weight_decay: float = _value(0.05, "decay of weights; biases, normalisation and tokens have none")
    crop_scale: float = _value(0.2, "smallest share of the image's area that a random crop keeps; 1 is the whole image")
    mean: float = _value(0.5, "subtracted from each channel, on the scale 0..1")
    std: float = _value(0.5, "divides each channel afterwards")
    precision: str = _value("float32", "type of activations and products; weights and moments stay float32")
    seed: int = _value(0, "of the initial weights, and with epoch and step of order, crops and masks")
    start_from: str = _value("", "SHA-256 of the encoder whose weights the run starts from; empty: drawn from the seed")

    def __post_init__(self) -> None:
        """Refuse values that no run can have."""
        for name in ("image_size", "patch_size", "decoder_width", "decoder_depth", "decoder_heads", "epochs"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} {getattr(self, name)}: expected at least 1")
        if self.image_size % self.patch_size:
            raise InputError(f"patch_size {self.patch_size}: expected a divisor of image_size {self.image_size}")
        if self.decoder_width % self.decoder_heads or self.decoder_width % 4:
            raise InputError(
                f"decoder_width {self.decoder_width}: expected a multiple of 4 and of {self.decoder_heads} heads"
            )
        if self.batch_size < 1 or self.accumulate < 1 or self.batch_size % self.accumulate:
            raise InputError(f"batch_size {self.batch_size}: expected a multiple of accumulate {self.accumulate}")
        if not 0 < self.mask_ratio < 1 or self.visible_patches == self.num_patches:
            raise InputError(f"mask_ratio {self.mask_ratio}: expected a share that hides a patch and keeps one")
        if not 0 < self.crop_scale <= 1:
            raise InputError(f"crop_scale {self.crop_scale}: expected a share above 0, at most 1")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise InputError(f"warmup_epochs {self.warmup_epochs}: expected less than epochs {self.epochs}")
        for name in ("learning_rate", "std"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} {getattr(self, name)}: expected more than 0")
        for name in ("blocks", "weight_decay", "seed"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} {getattr(self, name)}: expected 0 or more")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision {self.precision!r} is unknown{nearest(self.precision, PRECISIONS)}")

    @property
    def num_patches(self) -> int:
        """N, patches of an image."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def visible_patches(self) -> int:
        """K, patches the encoder sees: max(1, ⌊N(1−ρ) + 1e-9⌋)."""
        return kept_count(self.num_patches, self.mask_ratio)

    def learning_rate_at(self, epoch: float) -> float:
        """Return the rate at a time in epochs: linear warm-up, then half a cosine down to zero at ``epochs``."""
        if epoch < self.warmup_epochs:
            return self.learning_rate * epoch / self.warmup_epochs
        progress = (epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def to_dict(self) -> dict[str, str | int | float]:
        """Return the recipe as plain values, by field."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """Return the recipe of a file's header; a field that is missing has its default.

        Raises
        ------
        InputError
            If a field is unknown.
        """
        for name in values:
            if name not in {item.name for item in fields(cls)}:
                raise InputError(f"recipe field {name!r} is unknown; expected a file of this version")
        return cls(**values)
