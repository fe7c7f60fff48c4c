"""The formats of values in messages, by name, up and down. A new format is one file and one line here."""

from collections.abc import Mapping

from fl_sparse.codec.codec import Codec
from fl_sparse.codec.dense import BFloat16, Float32
from fl_sparse.codec.quantized import Int8

CODECS: Mapping[str, Codec] = {"float32": Float32(), "bfloat16": BFloat16(), "int8": Int8()}

__all__ = ["CODECS", "Codec"]
