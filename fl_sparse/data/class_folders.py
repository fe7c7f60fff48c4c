"""Images in one folder per class, the layout in which most image sets are published.

``cat.mask.png`` beside ``cat.jpg`` is its validity mask (black pixels are invalid); without it, alpha is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_sparse.data.decoding import alpha_validity, mask_validity, open_image, rgb_pixels
from fl_sparse.data.files import files_fingerprint
from fl_sparse.data.images import ImageSet, Pixels
from fl_sparse.data.in_memory import drawn_test_split
from fl_sparse.data.request import SourceRequest
from fl_sparse.errors import InputError, nearest

IMAGE_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
MASK_SUFFIX = ".mask.png"
OPAQUE_SUFFIXES = frozenset((".jpeg", ".jpg", ".pbm", ".pgm", ".ppm"))
"""Of formats without transparency."""
TEST_SHARE = 0.15
"""Share held out of a folder that comes without test images."""


@dataclass(frozen=True, eq=False)
class FolderImages:
    """Images by file; nothing is read before it is asked for.

    Attributes
    ----------
    root
        Folder of the class folders.
    files
        Paths relative to `root`, one per image.
    """

    name: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    fingerprint: str
    root: Path
    files: tuple[str, ...]
    ids: None = None

    def __len__(self) -> int:
        return len(self.files)

    def pixels(self, index: int) -> Pixels:
        """Return uint8 (H, W, 3)."""
        where = self.describe(index)
        return rgb_pixels(open_image(self.root / self.files[index], where), where)

    def validity(self, index: int) -> NDArray[np.bool_] | None:
        """Return bool (H, W) from the mask file, else from the image's alpha channel, else None."""
        file = self.root / self.files[index]
        image = open_image(file, str(file))
        mask = _mask_file(file)
        if not mask.is_file():
            return alpha_validity(image)
        return mask_validity(open_image(mask, str(mask)), (image.height, image.width), str(mask))

    def describe(self, index: int) -> str:
        """Return the file."""
        return str(self.root / self.files[index])


def class_folder_images(name: str, root: Path, classes: Sequence[str] | None = None) -> FolderImages:
    """Return the images of the class folders in `root`, by class and then by name.

    Parameters
    ----------
    name
        Name of the set.
    root
        Folder that holds a folder per class; images may lie deeper in these.
    classes
        Names that the folders must be among, in the order of the labels; None for the folders' own, sorted.

    Raises
    ------
    InputError
        If there is no class folder, one holds no image, or one is not among `classes`.
    """
    folders = _folders(root)
    if not folders:
        raise InputError(f"{root}: no class folders there; expected a folder of images for each class")
    names = tuple(folder.name for folder in folders) if classes is None else tuple(classes)
    labels: list[int] = []
    files: list[str] = []
    for folder in folders:
        if folder.name not in names:
            raise InputError(f"{folder}: not a class of the training images{nearest(folder.name, names)}")
        found = sorted(path for path in folder.rglob("*") if _is_image(path))
        if not found:
            raise InputError(f"class folder {folder}: no images in it; expected files such as .jpg, .png or .tif")
        files += [path.relative_to(root).as_posix() for path in found]
        labels += [names.index(folder.name)] * len(found)
    masks = [mask for mask in (str(_mask_file(Path(file))) for file in files) if (root / mask).is_file()]
    return FolderImages(
        name=name,
        classes=names,
        labels=np.array(labels, dtype=np.int64),
        fingerprint=files_fingerprint(root, [*files, *masks], names),
        root=root,
        files=tuple(files),
    )


def load_imagefolder(request: SourceRequest) -> tuple[ImageSet, ImageSet]:
    """Return the images of ``train/`` and ``test/`` (or ``val/``), or one set of class folders split 85/15.

    Raises
    ------
    InputError
        If there is no folder of class folders, or a class folder is empty or only in the test images.
    """
    root = request.folder()
    name = root.resolve().name
    # A class may be called "train": only a folder of folders is a split.
    if not (root / "train").is_dir() or not _folders(root / "train"):
        return drawn_test_split(
            class_folder_images(name, root), name, data_seed=request.data_seed, test_share=TEST_SHARE
        )
    train = class_folder_images(f"{name} train", root / "train")
    for split in ("test", "val"):
        if (root / split).is_dir():
            return train, class_folder_images(f"{name} {split}", root / split, train.classes)
    return drawn_test_split(train, name, data_seed=request.data_seed, test_share=TEST_SHARE)


def folder_has_masks(request: SourceRequest) -> bool:
    """Tell whether any image below the data folder has a mask file or is of a mode with transparency.

    Names are looked at first, then headers, up to the first that has; no image is decoded. What cannot be opened is
    left to whoever reads it.
    """
    files = [path for path in request.folder().rglob("*") if path.name.lower().endswith(MASK_SUFFIX) or _is_image(path)]
    return any(path.name.lower().endswith(MASK_SUFFIX) for path in files) or any(map(_is_transparent, files))


def _is_transparent(file: Path) -> bool:
    from PIL import Image

    if file.suffix.lower() in OPAQUE_SUFFIXES:
        return False
    try:
        with Image.open(file) as image:
            return image.has_transparency_data
    except Exception:  # decoders raise errors of every type on damaged data
        return True


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_image(path: Path) -> bool:
    name = path.name.lower()
    hidden = name.startswith(".") or name.endswith(MASK_SUFFIX)
    return not hidden and path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _mask_file(image: Path) -> Path:
    return image.with_name(image.stem + MASK_SUFFIX)
