"""The rows of Parquet files, whose columns of images are read when a cell is asked for."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fl_sparse.data.columns import holds_images
from fl_sparse.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ParquetTable:
    """The rows of some Parquet files of one schema; a column of images is read when its first cell is asked for.

    Reading images is most of what opening a source costs, and a run whose shards are stored already needs none.
    """

    parts: tuple[Path, ...]
    schema: "pa.Schema"
    num_rows: int

    def column(self, name: str) -> "pa.ChunkedArray | ImageColumn":
        """Return a column; an `ImageColumn` if it holds encoded images."""
        return ImageColumn(self, name) if holds_images(self.schema.field(name).type) else self.read(name)

    def read(self, name: str) -> "pa.ChunkedArray":
        """Read a column now.

        Raises
        ------
        InputError
            If a file cannot be read.
        """
        import pyarrow as pa
        from pyarrow import parquet

        tables = []
        for part in self.parts:
            try:
                # Not read_table: it imports pandas, if that is there, which takes longer than reading.
                tables.append(parquet.ParquetFile(part).read(columns=[name]))
            except (OSError, pa.ArrowException) as error:
                raise unreadable(part, error) from error
        return pa.concat_tables(tables).column(name)


class ImageColumn:
    """The cells of a column of images, read together when the first is asked for."""

    def __init__(self, table: ParquetTable, name: str) -> None:
        self._table, self._name = table, name

    @functools.cached_property
    def _cells(self) -> "pa.ChunkedArray":
        return self._table.read(self._name)

    def __getitem__(self, index: int) -> "pa.Scalar":
        """Return one cell."""
        return self._cells[index]


def unreadable(part: Path, error: Exception) -> InputError:
    """Return the error that names a file which cannot be read, and why."""
    return InputError(f"{part}: cannot read the Parquet file: {' '.join(str(error).split())}")
