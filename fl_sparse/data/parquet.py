"""A folder with ``train.parquet`` and ``test.parquet``, or with the same splits in numbered parts."""

import hashlib
from pathlib import Path

from fl_sparse.data.columns import stored_features
from fl_sparse.data.images import ImageSet
from fl_sparse.data.parquet_table import ParquetTable, unreadable
from fl_sparse.data.request import SourceRequest
from fl_sparse.data.table import ImageTable, table_images
from fl_sparse.errors import InputError


def load_parquet(request: SourceRequest) -> tuple[ImageSet, ImageSet]:
    """Return the images of ``train.parquet`` and ``test.parquet`` (or ``train-*.parquet``, as on Hugging Face).

    Without test files, 15 % of the training images are held out.

    Raises
    ------
    InputError
        If there is no training file, or a file or column cannot be read.
    """
    folder = request.folder()
    splits = {split: _read_split(folder, split) for split in ("train", "test") if _parts(folder, split)}
    if "train" not in splits:
        raise InputError(f"data-dir {request.data_dir!r}: no train.parquet or train-*.parquet there")
    return table_images(folder.resolve().name, splits, request)


def _parts(folder: Path, split: str) -> list[Path]:
    whole = folder / f"{split}.parquet"
    return [whole] if whole.is_file() else sorted(folder.glob(f"{split}-*.parquet"))


def _read_split(folder: Path, split: str) -> ImageTable:
    import pyarrow as pa
    from pyarrow import parquet

    parts = _parts(folder, split)
    digest = hashlib.sha256()
    schemas = []
    rows = 0
    for part in parts:
        try:
            about = parquet.ParquetFile(part)
            schemas.append(about.schema_arrow)
            rows += about.metadata.num_rows
            with part.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except (OSError, pa.ArrowException) as error:
            raise unreadable(part, error) from error
    if len({schema.remove_metadata() for schema in schemas}) > 1:
        raise InputError(f"{folder}: the parts of {split!r} have different columns; expected the same in every part")
    where = str(parts[0]) if len(parts) == 1 else str(folder / f"{split}-*.parquet")
    table = ParquetTable(tuple(parts), schemas[0], rows)
    return ImageTable(where, table, stored_features(schemas[0]), digest.hexdigest(), (folder,))
