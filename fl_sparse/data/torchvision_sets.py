"""Image sets that torchvision downloads and reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.data.decoding import rgb_pixels
from fl_sparse.data.files import files_fingerprint
from fl_sparse.data.images import ImageSet, Pixels
from fl_sparse.data.in_memory import drawn_test_split
from fl_sparse.data.request import SourceRequest
from fl_sparse.errors import InputError

TEST_SHARE = 0.2
"""Share held out of a set without test images (EuroSAT)."""


@dataclass(frozen=True)
class TorchvisionSet:
    """How torchvision names a set and its parts.

    Attributes
    ----------
    description
        One line.
    class_name
        The class in ``torchvision.datasets``.
    files
        What it keeps in its root folder, as a glob pattern.
    train, test
        Arguments that select the parts; `test` is None for a set without one.
    """

    description: str
    class_name: str
    files: str
    train: Mapping[str, Any]
    test: Mapping[str, Any] | None


_BY_FLAG: tuple[Mapping[str, Any], Mapping[str, Any]] = ({"train": True}, {"train": False})
_BY_NAME: tuple[Mapping[str, Any], Mapping[str, Any]] = ({"split": "train"}, {"split": "test"})
_BY_TRAINVAL: tuple[Mapping[str, Any], Mapping[str, Any]] = ({"split": "trainval"}, {"split": "test"})

TORCHVISION_SETS: Mapping[str, TorchvisionSet] = {
    "aircraft": TorchvisionSet("FGVC-Aircraft, 100 kinds", "FGVCAircraft", "fgvc-aircraft-2013b/**/*", *_BY_TRAINVAL),
    "dtd": TorchvisionSet("Describable Textures, 47 classes", "DTD", "dtd/**/*", *_BY_NAME),
    "eurosat": TorchvisionSet("EuroSAT, 27,000 64x64 satellite images", "EuroSAT", "eurosat/2750/**/*", {}, None),
    "fashion-mnist": TorchvisionSet("Fashion-MNIST, 28x28 grey", "FashionMNIST", "FashionMNIST/raw/*", *_BY_FLAG),
    "flowers102": TorchvisionSet("Oxford Flowers, 102 classes", "Flowers102", "flowers-102/**/*", *_BY_NAME),
    "food101": TorchvisionSet("Food-101, 101 classes", "Food101", "food-101/**/*", *_BY_NAME),
    "gtsrb": TorchvisionSet("German traffic signs, 43 classes", "GTSRB", "gtsrb/**/*", *_BY_NAME),
    "kmnist": TorchvisionSet("Kuzushiji-MNIST, 28x28 grey", "KMNIST", "KMNIST/raw/*", *_BY_FLAG),
    "mnist": TorchvisionSet("MNIST digits, 28x28 grey", "MNIST", "MNIST/raw/*", *_BY_FLAG),
    "pets": TorchvisionSet("Oxford-IIIT Pets, 37 breeds", "OxfordIIITPet", "oxford-iiit-pet/**/*", *_BY_TRAINVAL),
    "stl10": TorchvisionSet("STL-10, 96x96, 5,000/8,000 labelled images", "STL10", "stl10_binary/*", *_BY_NAME),
    "svhn": TorchvisionSet("Street View House Numbers, 32x32", "SVHN", "*_32x32.mat", *_BY_NAME),
}


@dataclass(frozen=True, eq=False)
class TorchvisionImages:
    """Images of a torchvision data set without transforms."""

    name: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    fingerprint: str
    dataset: Any
    ids: None = None

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, index: int) -> Pixels:
        """Return uint8 (H, W, 3)."""
        where = self.describe(index)
        try:
            image = self.dataset[index][0]
        except Exception as error:  # decoders raise errors of every type on damaged data
            raise InputError(f"{where}: cannot read the image: {' '.join(str(error).split())}") from error
        return rgb_pixels(image, where)

    def validity(self, index: int) -> None:
        """Return None: torchvision drops alpha, so every pixel is valid."""

    def describe(self, index: int) -> str:
        """Return set and number."""
        return f"{self.name}, image {index}"


def torchvision_loader(known: TorchvisionSet) -> Callable[[SourceRequest], tuple[ImageSet, ImageSet]]:
    """Return the loader of a set: from data-dir (or the cache) if it is there, else by download."""

    def load(request: SourceRequest) -> tuple[ImageSet, ImageSet]:
        train = _part(request, known, "train", known.train)
        if known.test is None:
            return drawn_test_split(train, request.dataset, data_seed=request.data_seed, test_share=TEST_SHARE)
        test = _part(request, known, "test", known.test)
        # Where torchvision names no classes, they are counted, and a part may lack the last one.
        classes = max(train.classes, test.classes, key=len)
        return replace(train, classes=classes), replace(test, classes=classes)

    return load


def _part(request: SourceRequest, known: TorchvisionSet, split: str, arguments: Mapping[str, Any]) -> TorchvisionImages:
    root = request.download_folder()
    dataset = _open(request.dataset, known, root, arguments)
    labels = _labels(dataset)
    names = tuple(str(name) for name in getattr(dataset, "classes", ()))
    files = sorted(path.relative_to(root).as_posix() for path in root.glob(known.files) if path.is_file())
    return TorchvisionImages(
        name=f"{request.dataset} {split}",
        classes=names or tuple(str(number) for number in range(int(labels.max()) + 1)),
        labels=labels,
        fingerprint=files_fingerprint(root, files, known.class_name, split),
        dataset=dataset,
    )


def _open(name: str, known: TorchvisionSet, root: Path, arguments: Mapping[str, Any]) -> Any:
    import torchvision

    make = getattr(torchvision.datasets, known.class_name)
    try:
        return make(str(root), download=False, **arguments)
    except Exception as error:
        told = " ".join(str(error).split())
        # The words by which all of torchvision's sets say that files are missing or fail their check.
        if "not found" not in told:
            raise InputError(f"dataset {name!r}: cannot read it in {root}: {told}") from error
    try:
        root.mkdir(parents=True, exist_ok=True)
        return make(str(root), download=True, **arguments)
    except Exception as error:  # the network, the disk and the archive each fail in their own ways
        raise InputError(
            f"dataset {name!r}: not in {root}, and could not be downloaded ({' '.join(str(error).split())}); "
            "connect to a network, or set data-dir to where torchvision has put it"
        ) from error


def _labels(dataset: Any) -> NDArray[np.int64]:
    """Return all labels without decoding an image; each family of torchvision's sets keeps them elsewhere."""
    for attribute in ("targets", "labels", "_labels"):
        if hasattr(dataset, attribute):
            return np.asarray(getattr(dataset, attribute), dtype=np.int64)
    return np.array([label for _, label in dataset._samples], dtype=np.int64)
