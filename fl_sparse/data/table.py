"""Images in the rows of an Arrow table: encoded bytes stay encoded until a row is asked for."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.data import columns
from fl_sparse.data.decoding import alpha_validity, mask_validity, open_image, rgb_pixels
from fl_sparse.data.images import ImageSet, Pixels
from fl_sparse.data.in_memory import drawn_test_split
from fl_sparse.data.request import SourceRequest
from fl_sparse.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from fl_sparse.data.parquet_table import ImageColumn, ParquetTable

TEST_SHARE = 0.15
"""Share held out of a table that comes without test images."""


@dataclass(frozen=True)
class ImageTable:
    """One split of a tabular data set.

    Attributes
    ----------
    where
        File or split, for messages.
    table
        The rows.
    features
        Hugging Face features by column.
    digest
        SHA-256 of the stored table, in hexadecimal.
    folders
        Where images given by a path instead of bytes may lie; relative paths start at the first.
    """

    where: str
    table: "pa.Table | ParquetTable"
    features: columns.Features
    digest: str
    folders: tuple[Path, ...]


@dataclass(frozen=True, eq=False)
class TableImages:
    """Images, labels and client ids from columns of a table; `image_cells` and `mask_cells` are Arrow columns."""

    name: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    ids: NDArray[Any] | None
    fingerprint: str
    where: str
    folders: tuple[Path, ...]
    image_cells: "pa.ChunkedArray | ImageColumn"
    mask_cells: "pa.ChunkedArray | ImageColumn | None"

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, index: int) -> Pixels:
        """Return uint8 (H, W, 3)."""
        where = self.describe(index)
        return rgb_pixels(open_image(self._encoded(self.image_cells, index, where), where), where)

    def validity(self, index: int) -> NDArray[np.bool_] | None:
        """Return bool (H, W) from the mask column, else from the image's alpha channel, else None."""
        where = self.describe(index)
        image = open_image(self._encoded(self.image_cells, index, where), where)
        if self.mask_cells is None or not self.mask_cells[index].is_valid:
            return alpha_validity(image)
        where = f"{where}, mask"
        mask = open_image(self._encoded(self.mask_cells, index, where), where)
        return mask_validity(mask, (image.height, image.width), where)

    def describe(self, index: int) -> str:
        """Return file and row, from 0."""
        return f"{self.where}, row {index}"

    def _encoded(self, cells: "pa.ChunkedArray | ImageColumn", index: int, where: str) -> bytes | Path:
        cell = cells[index].as_py()
        path = None
        if isinstance(cell, dict):
            cell, path = cell["bytes"], cell.get("path")
        if cell is not None:
            return bytes(cell)
        if path is None:
            raise InputError(f"{where}: no image in this row; expected bytes or a path")
        file: Path = (self.folders[0] / path).resolve()
        # A table from elsewhere may name any file of this machine: only the given folders are read.
        if not any(file.is_relative_to(folder.resolve()) for folder in self.folders):
            raise InputError(f"{where}: image path {path!r} leads out of {self.folders[0]}")
        return file


def table_images(name: str, splits: Mapping[str, ImageTable], request: SourceRequest) -> tuple[ImageSet, ImageSet]:
    """Return the train and test images of a tabular data set.

    Parameters
    ----------
    name
        The data set's name.
    splits
        ``train`` and, if the data set has one, ``test``. Without it, 15 % are held out, stratified and seeded.
    request
        The columns asked for, and the seed.

    Raises
    ------
    InputError
        If a column is missing or of the wrong type, or a split holds no rows.
    """
    train = splits["train"]
    image = columns.find_image_column(train.table.schema, request.image_column, train.where)
    label = columns.find_label_column(train.table.schema, train.features, request.label_column, train.where)
    for split in splits.values():
        columns.find_image_column(split.table.schema, image, split.where)
        columns.find_label_column(split.table.schema, split.features, label, split.where)
        if not split.table.num_rows:
            raise InputError(f"{split.where}: no rows; expected one per image")
    classes, labels = columns.read_labels(
        {split.where: split.table for split in splits.values()}, label, train.features
    )
    sets = {}
    for key, split in splits.items():
        mask = columns.find_mask_column(split.table.schema, image)
        identity = repr((split.digest, image, mask, label, classes))
        sets[key] = TableImages(
            name=f"{name} {key}",
            classes=classes,
            labels=labels[split.where],
            ids=columns.read_ids(split.table, request.id_column, split.where),
            fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
            where=split.where,
            folders=split.folders,
            image_cells=split.table.column(image),
            mask_cells=None if mask is None else split.table.column(mask),
        )
    if "test" in sets:
        return sets["train"], sets["test"]
    return drawn_test_split(sets["train"], name, data_seed=request.data_seed, test_share=TEST_SHARE)
