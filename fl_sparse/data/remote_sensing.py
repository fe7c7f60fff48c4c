"""Scene classification from the air, from folders as their authors publish them.

References
----------
G. Cheng, J. Han, X. Lu, *Remote Sensing Image Scene Classification: Benchmark and State of the Art*, 2017 (RESISC45).
G.-S. Xia et al., *AID: A Benchmark Data Set for Performance Evaluation of Aerial Scene Classification*, 2017.
"""

from dataclasses import dataclass
from pathlib import Path

from fl_sparse.data.class_folders import class_folder_images
from fl_sparse.data.images import ImageSet
from fl_sparse.data.in_memory import drawn_test_split
from fl_sparse.data.request import SourceRequest
from fl_sparse.errors import InputError


@dataclass(frozen=True)
class PublishedSet:
    """A set without a split of its own, and the sizes Kariotakis et al. (CPAL 2024) drew from it.

    Attributes
    ----------
    folder
        Name of the folder of class folders in the published archive.
    num_classes
        Class folders expected.
    num_images
        Images in the whole set.
    num_test
        Images held out of the whole set; of a subset, the same share.
    """

    folder: str
    num_classes: int
    num_images: int
    num_test: int


RESISC45 = PublishedSet("NWPU-RESISC45", num_classes=45, num_images=31_500, num_test=4_500)
AID = PublishedSet("AID", num_classes=30, num_images=10_000, num_test=1_500)


def load_resisc45(request: SourceRequest) -> tuple[ImageSet, ImageSet]:
    """Return 27,000 training and 4,500 test images of NWPU-RESISC45, stratified and seeded."""
    return _load(request, RESISC45)


def load_aid(request: SourceRequest) -> tuple[ImageSet, ImageSet]:
    """Return 8,500 training and 1,500 test images of AID, stratified and seeded."""
    return _load(request, AID)


def _load(request: SourceRequest, published: PublishedSet) -> tuple[ImageSet, ImageSet]:
    folder = request.folder()
    inner = folder / published.folder
    root: Path = inner if inner.is_dir() else folder
    images = class_folder_images(request.dataset, root)
    if len(images.classes) != published.num_classes:
        raise InputError(
            f"{root}: {len(images.classes)} class folders; {request.dataset} has {published.num_classes} "
            "(for a part of it, use dataset 'imagefolder')"
        )
    share = published.num_test / published.num_images
    return drawn_test_split(images, request.dataset, data_seed=request.data_seed, test_share=share)
