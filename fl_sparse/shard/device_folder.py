"""A device's own images: one folder, whole, with labels from class folders or from a table, or without."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fl_sparse.data.class_folders import IMAGE_SUFFIXES, MASK_SUFFIX, FolderImages, class_folder_images
from fl_sparse.data.files import files_fingerprint
from fl_sparse.errors import InputError, nearest

UNLABELLED = -1


def device_images(folder: Path, *, classes: Sequence[str] | None = None, labels: Path | None = None) -> FolderImages:
    """Return the images of a folder.

    Parameters
    ----------
    folder
        With ``labels``: images at any depth. Without: a folder per class, or images alone, which are then unlabelled.
    classes
        Names of the classes in the order of their numbers, so that all devices number them alike; None for the names
        found, sorted.
    labels
        CSV file with the columns ``file`` (relative to the folder) and ``label`` (a class name; empty for none).
        Images that it does not name are unlabelled.

    Raises
    ------
    InputError
        If the folder or a class folder holds no image, the folder holds both images and class folders, or the table
        names a file that is not there, a file twice, or a class that is not among ``classes``.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    name = folder.resolve().name
    loose = [path.name for path in _images(folder, "*")]
    folders = [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if labels is None and folders and loose:
        raise InputError(
            f"{folder}: both images ({loose[0]}) and folders ({folders[0]}): expected either, or --labels FILE"
        )
    if labels is None and folders:
        return class_folder_images(name, folder, classes)
    files = tuple(path.relative_to(folder).as_posix() for path in _images(folder, "**/*"))
    if not files:
        raise InputError(f"{folder}: no images in it; expected files such as .jpg, .png or .tif")
    named = {} if labels is None else _read_labels(labels, folder, frozenset(files))
    names = tuple(classes) if classes is not None else tuple(sorted({label for label in named.values() if label}))
    for file, label in named.items():
        if label and label not in names:
            raise InputError(f"{labels}: {file} is labelled {label!r}, which is not a class{nearest(label, names)}")
    numbers = [names.index(named[file]) if named.get(file) else UNLABELLED for file in files]
    return FolderImages(
        name=name,
        classes=names,
        labels=np.array(numbers, dtype=np.int64),
        fingerprint=files_fingerprint(folder, files, names, numbers),
        root=folder,
        files=files,
    )


def _images(folder: Path, pattern: str) -> list[Path]:
    return sorted(
        path
        for path in folder.glob(pattern)
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.lower().endswith(MASK_SUFFIX)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def _read_labels(table: Path, folder: Path, files: frozenset[str]) -> dict[str, str]:
    """Return the class name of each file, empty for none."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            if not {"file", "label"} <= set(reader.fieldnames or ()):
                raise InputError(f"{table}: expected the columns 'file' and 'label' in its first line")
            rows = [(reader.line_num, row["file"] or "", (row["label"] or "").strip()) for row in reader]
    except OSError as error:
        raise InputError(f"{table}: {(error.strerror or str(error)).lower()}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{table}: no readable CSV file ({' '.join(str(error).split())})") from error
    named: dict[str, str] = {}
    for line, file, label in rows:
        place = Path(file.strip()).as_posix()
        if place not in files:
            raise InputError(f"{table}, line {line}: no image {file!r} in {folder}")
        if place in named:
            raise InputError(f"{table}, line {line}: {file!r} is named twice")
        named[place] = label
    return named
