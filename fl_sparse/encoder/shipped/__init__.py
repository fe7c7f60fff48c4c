"""The encoder that comes with the library, and the SHA-256 its file must have.

Written by ``python -m fl_sparse.encoder.ship``; what the file is, how it was made and what it measures is in
docs/model-card.md.
"""

SHA256 = "fa689e643b9197726a2e9325be4cee846568c76281abfbf45e1b1be31d72561c"
