"""A frozen vision transformer that sees visible patches only."""

from fl_sparse.encoder.load import load_encoder
from fl_sparse.encoder.spec import EncoderSpec, encoder_spec

__all__ = ["EncoderSpec", "encoder_spec", "load_encoder"]
