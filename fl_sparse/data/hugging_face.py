"""Any data set of the Hugging Face hub, or a local folder that `datasets` can read, by name."""

import contextlib
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fl_sparse.data.images import ImageSet
from fl_sparse.data.request import SourceRequest
from fl_sparse.data.table import ImageTable, table_images
from fl_sparse.errors import InputError

PREFIX = "hf:"
TEST_SPLITS = ("test", "validation", "valid", "val")
"""What stands for the test images, the first that is there."""


def load_hugging_face(request: SourceRequest) -> tuple[ImageSet, ImageSet]:
    """Return train and test images of ``hf:NAME`` or ``hf:NAME:CONFIGURATION``.

    The data is kept in data-dir, or in the cache of `datasets`. Without a test or validation split, 15 % are held out.

    Raises
    ------
    InputError
        If it cannot be loaded (no such name, no network), has no training split, or a column does not fit.
    """
    import datasets

    name, _, configuration = request.dataset.removeprefix(PREFIX).partition(":")
    try:
        with _quiet_retries():
            found = datasets.load_dataset(name, configuration or None, cache_dir=request.data_dir or None)
    except Exception as error:  # the hub, the network and every file format fail in their own ways
        raise InputError(
            f"dataset {request.dataset!r} could not be loaded ({' '.join(str(error).split())}); "
            "expected a name on the hub and a network, data loaded before, or a local folder"
        ) from error
    if "train" not in found:
        raise InputError(f"dataset {request.dataset!r}: no split 'train' among: {', '.join(sorted(found))}")
    folders = tuple(
        Path(folder).expanduser()
        for folder in (
            name if Path(name).is_dir() else None,
            request.data_dir or None,
            datasets.config.HF_CACHE_HOME,
            datasets.config.HF_DATASETS_CACHE,
        )
        if folder
    )
    splits = {"train": _table(request.dataset, "train", found["train"], folders)}
    test = next((split for split in TEST_SPLITS if split in found), None)
    if test is not None:
        splits["test"] = _table(request.dataset, test, found[test], folders)
    return table_images(Path(name).name if Path(name).is_dir() else name, splits, request)


@contextlib.contextmanager
def _quiet_retries() -> Iterator[None]:
    """Keep the hub's client from a line per retry: what it fails at ends in our one line."""
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _table(dataset: str, split: str, rows: Any, folders: tuple[Path, ...]) -> ImageTable:
    digest = hashlib.sha256()
    for file in rows.cache_files:
        with Path(file["filename"]).open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    # In Arrow's own format nothing is decoded or copied: the table stays mapped from the cache's files.
    table = rows.with_format("arrow")[:]
    return ImageTable(f"{dataset} {split}", table, rows.features.to_dict(), digest.hexdigest(), folders)
