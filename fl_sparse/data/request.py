"""What a user asks of a data source."""

import os
from dataclasses import dataclass
from pathlib import Path

from fl_sparse.errors import InputError


@dataclass(frozen=True)
class SourceRequest:
    """Where the images are and how to read them.

    Attributes
    ----------
    dataset
        Name of the source.
    data_dir
        Folder with the data, or where to download it; empty for the source's default.
    data_seed
        Seed of the train/test split of a source that has none of its own.
    image_column, label_column, id_column
        Columns of a table of images; empty to find image and label by type, and to have no client ids.
    """

    dataset: str
    data_dir: str
    data_seed: int
    image_column: str = ""
    label_column: str = ""
    id_column: str = ""

    def folder(self) -> Path:
        """Return the data folder.

        Raises
        ------
        InputError
            If none was given, or there is no such folder.
        """
        if not self.data_dir:
            raise InputError(f"dataset {self.dataset!r} needs data-dir: the folder with its images")
        folder = Path(self.data_dir).expanduser()
        if not folder.is_dir():
            raise InputError(f"data-dir {self.data_dir!r}: no such folder")
        return folder

    def download_folder(self) -> Path:
        """Return where a source downloads to: data-dir, or the user's cache."""
        if self.data_dir:
            return Path(self.data_dir).expanduser()
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(cache) / "fl-sparse"
