"""The encoder that comes with the library, and the SHA-256 its file must have.

Written by ``python -m fl_sparse.encoder.ship``; what the file is, how it was made and what it measures is in
docs/model-card.md.
"""

SHA256 = "b733a4f2a2a4ca0338cf5dae17ccf5f7511fe73e1d0fcbf0354eaad17c1132ce"
