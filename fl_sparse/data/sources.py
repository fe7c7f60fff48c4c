"""The data sources by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fl_sparse.data.cifar import CIFAR10, CIFAR100, cifar_loader
from fl_sparse.data.class_folders import folder_has_masks, load_imagefolder
from fl_sparse.data.digits import load_digits
from fl_sparse.data.hugging_face import PREFIX, load_hugging_face
from fl_sparse.data.images import ImageSet
from fl_sparse.data.parquet import load_parquet
from fl_sparse.data.remote_sensing import load_aid, load_resisc45
from fl_sparse.data.request import SourceRequest
from fl_sparse.data.torchvision_sets import TORCHVISION_SETS, torchvision_loader
from fl_sparse.errors import InputError, nearest


@dataclass(frozen=True)
class SourceInfo:
    """What a user should know of a data source.

    Attributes
    ----------
    description
        One line.
    load
        Returns the train and test images.
    needs_network
        Whether the first use downloads.
    needs_data_dir
        Whether data-dir must be given.
    has_columns
        Whether image-column, label-column and id-column apply.
    has_masks
        Whether images can have invalid pixels: false only where it is known, without decoding an image, that none has.
    """

    description: str
    load: Callable[[SourceRequest], tuple[ImageSet, ImageSet]]
    needs_network: bool = False
    needs_data_dir: bool = False
    has_columns: bool = False
    has_masks: Callable[[SourceRequest], bool] = lambda request: False


SOURCES: Mapping[str, SourceInfo] = {
    "digits": SourceInfo("1,797 handwritten digits, 8x8 grey, embedded in scikit-learn", load_digits),
    "parquet": SourceInfo(
        "train.parquet and test.parquet with columns of encoded images and labels",
        load_parquet,
        needs_data_dir=True,
        has_columns=True,
        has_masks=lambda request: True,
    ),
    "imagefolder": SourceInfo(
        "class folders of images, in train/ and test/ or split 85/15",
        load_imagefolder,
        needs_data_dir=True,
        has_masks=folder_has_masks,
    ),
    "resisc45": SourceInfo(
        "NWPU-RESISC45 class folders, split 27,000/4,500 (seeded)",
        load_resisc45,
        needs_data_dir=True,
        has_masks=folder_has_masks,
    ),
    "aid": SourceInfo(
        "AID class folders, split 8,500/1,500 (seeded)", load_aid, needs_data_dir=True, has_masks=folder_has_masks
    ),
    "cifar10": SourceInfo("CIFAR-10, 50,000/10,000 32x32 images", cifar_loader(CIFAR10), needs_network=True),
    "cifar100": SourceInfo("CIFAR-100, 50,000/10,000 32x32 images", cifar_loader(CIFAR100), needs_network=True),
    **{
        name: SourceInfo(known.description, torchvision_loader(known), needs_network=True)
        for name, known in TORCHVISION_SETS.items()
    },
    f"{PREFIX}NAME": SourceInfo(
        "any image set of the Hugging Face hub by name (hf:NAME:CONFIGURATION for one of several)",
        load_hugging_face,
        needs_network=True,
        has_columns=True,
        has_masks=lambda request: True,
    ),
}
"""Every source by the name that `dataset` takes; the last stands for all names that start with ``hf:``."""
SOURCES_LIST = "python -m fl_sparse info"


def load_images(
    dataset: str,
    data_dir: str,
    *,
    data_seed: int,
    image_column: str = "",
    label_column: str = "",
    id_column: str = "",
) -> tuple[ImageSet, ImageSet]:
    """Return the train and test images of a data set.

    Parameters
    ----------
    dataset
        A name of `SOURCES`, or ``hf:NAME``.
    data_dir
        Folder with the data, or where to download it; may be empty for sources that need none.
    data_seed
        Seed of the train/test split of a set that has none of its own (stratified).
    image_column, label_column, id_column
        Columns of a table; empty to find image and label by type and name, and to have no client ids.

    Raises
    ------
    InputError
        If the name is unknown, the data is missing or damaged, or a column does not fit.
    """
    info = source_info(dataset, data_dir, image_column=image_column, label_column=label_column, id_column=id_column)
    return info.load(SourceRequest(dataset, data_dir, data_seed, image_column, label_column, id_column))


def source_info(
    dataset: str, data_dir: str, *, image_column: str = "", label_column: str = "", id_column: str = ""
) -> SourceInfo:
    """Return a data set's source, having checked what can be checked without reading it.

    Parameters are those of `load_images`.

    Raises
    ------
    InputError
        If the name is unknown, the data folder is needed and missing, or columns are named of a source without any.
    """
    info = SOURCES.get(f"{PREFIX}NAME" if dataset.startswith(PREFIX) else dataset)
    if info is None:
        raise InputError(f"unknown dataset {dataset!r}{nearest(dataset, SOURCES, see=SOURCES_LIST)}")
    if dataset == PREFIX or dataset.startswith(f"{PREFIX}:"):
        raise InputError(f"dataset {dataset!r}: expected hf:NAME, such as hf:owner/images")
    if info.needs_data_dir:
        SourceRequest(dataset, data_dir, data_seed=0).folder()
    if not info.has_columns:
        asked = {"image-column": image_column, "label-column": label_column, "id-column": id_column}
        for key, value in asked.items():
            if value:
                raise InputError(f"{key} {value!r}: dataset {dataset!r} has no columns; it must be empty")
        if data_dir and (Path(data_dir) / "train.parquet").is_file():
            raise InputError(f"data-dir {data_dir!r} holds train.parquet: expected dataset 'parquet', not {dataset!r}")
    return info
