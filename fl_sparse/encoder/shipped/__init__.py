"""The encoder that comes with the library, and the SHA-256 its file must have.

Written by ``python -m fl_sparse.encoder.ship``; what the file is, how it was made and what it measures is in
docs/model-card.md.
"""

SHA256 = "5f2c0efaba5401542fb84a9642ed8da942031cd609128f7262dad5a44805dbec"
