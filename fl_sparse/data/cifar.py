"""CIFAR-10 and CIFAR-100 in their binary version: fixed-size records, so that nothing has to be unpickled.

A record is the label bytes and then 3,072 bytes: 32×32 pixels of the red, the green and the blue plane.

References
----------
A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_sparse.data.files import files_fingerprint
from fl_sparse.data.images import ImageSet
from fl_sparse.data.in_memory import ArrayImages
from fl_sparse.data.request import SourceRequest
from fl_sparse.errors import InputError

SIDE = 32
VALUES = 3 * SIDE * SIDE


@dataclass(frozen=True)
class BinaryArchive:
    """A published archive of records.

    Attributes
    ----------
    url, md5
        Where it is, and the sum its authors publish.
    folder
        The folder it unpacks to.
    train, test
        Files of records.
    class_names
        File with a class name per line.
    label_bytes
        Bytes before the pixels; the last is the label (CIFAR-100 has the coarse one first).
    """

    url: str
    md5: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    class_names: str
    label_bytes: int


CIFAR10 = BinaryArchive(
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    folder="cifar-10-batches-bin",
    train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test=("test_batch.bin",),
    class_names="batches.meta.txt",
    label_bytes=1,
)
CIFAR100 = BinaryArchive(
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    md5="03b5dce01913d631647c71ecec9e9cb8",
    folder="cifar-100-binary",
    train=("train.bin",),
    test=("test.bin",),
    class_names="fine_label_names.txt",
    label_bytes=2,
)


def cifar_loader(archive: BinaryArchive) -> Callable[[SourceRequest], tuple[ImageSet, ImageSet]]:
    """Return the loader of one of the two sets: 50,000 training and 10,000 test images when the archive is whole."""

    def load(request: SourceRequest) -> tuple[ImageSet, ImageSet]:
        root = request.download_folder()
        if not (root / archive.folder).is_dir():
            _download(request, archive, root)
        train = _read(request.dataset, "train", root / archive.folder, archive, archive.train)
        return train, _read(request.dataset, "test", root / archive.folder, archive, archive.test)

    return load


def _download(request: SourceRequest, archive: BinaryArchive, root: Path) -> None:
    from torchvision.datasets.utils import download_and_extract_archive

    try:
        download_and_extract_archive(archive.url, str(root), md5=archive.md5)
    except Exception as error:  # the network, the disk and the archive each fail in their own ways
        raise InputError(
            f"dataset {request.dataset!r}: {root} has no folder {archive.folder!r}, and {archive.url} could not be "
            f"downloaded ({' '.join(str(error).split())}); unpack that archive there, or set data-dir to where it is "
            "(the pickled version is not read)"
        ) from error


def _read(dataset: str, split: str, folder: Path, archive: BinaryArchive, files: tuple[str, ...]) -> ImageSet:
    try:
        classes = tuple((folder / archive.class_names).read_text(encoding="utf-8").split())
        records = np.concatenate([_records(folder / file, archive.label_bytes) for file in files])
    except OSError as error:
        raise InputError(f"dataset {dataset!r}: cannot read {error.filename}: {error.strerror}") from error
    labels = records[:, archive.label_bytes - 1].astype(np.int64)
    if labels.max() >= len(classes):
        raise InputError(f"{folder}: label {labels.max()} but {len(classes)} class names in {archive.class_names}")
    planes = records[:, archive.label_bytes :].reshape(-1, 3, SIDE, SIDE)
    return ArrayImages(
        name=f"{dataset} {split}",
        classes=classes,
        labels=labels,
        fingerprint=files_fingerprint(folder, (archive.class_names, *files)),
        values=planes.transpose(0, 2, 3, 1),
    )


def _records(file: Path, label_bytes: int) -> NDArray[np.uint8]:
    content = np.fromfile(file, dtype=np.uint8)
    size = label_bytes + VALUES
    if not len(content) or len(content) % size:
        raise InputError(f"{file}: {len(content)} bytes; expected whole records of {size} bytes")
    return content.reshape(-1, size)
