"""Make an encoder's file the shipped one: ``python -m fl_sparse.encoder.ship ENCODER.safetensors``.

Copies the file into the package and writes its SHA-256 beside it. Run from a checkout, then run the tests and commit
both files with the model card; the weights stay in the history for good, so this is done seldom.
"""

import shutil
import sys
from pathlib import Path

from fl_sparse.encoder import shipped
from fl_sparse.encoder.header import read_header
from fl_sparse.encoder.spec import SHIPPED_FILE, file_digest
from fl_sparse.errors import InputError

LARGEST = 12_000_000
"""Bytes that the shipped file may have."""

PIN = '''"""The encoder that comes with the library, and the SHA-256 its file must have.

Written by ``python -m fl_sparse.encoder.ship``; what the file is, how it was made and what it measures is in
docs/model-card.md.
"""

SHA256 = "{digest}"
'''


def ship(source: Path, folder: Path) -> str:
    """Copy an encoder's file and pin its hash; return the hash.

    Raises
    ------
    InputError
        If the file is no encoder, or larger than the limit.
    """
    read_header(source)
    size = source.stat().st_size
    if size > LARGEST:
        raise InputError(f"{source}: {size:,} bytes; expected at most {LARGEST:,}")
    digest = file_digest(source)
    shutil.copyfile(source, folder / SHIPPED_FILE)
    (folder / "__init__.py").write_text(PIN.format(digest=digest))
    return digest


if __name__ == "__main__":
    try:
        print(ship(Path(sys.argv[1]), Path(shipped.__path__[0])))
    except (InputError, IndexError) as problem:
        sys.exit(f"error: {problem}")
