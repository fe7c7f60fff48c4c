"""What can be said against a configuration's data and encoder before an image is read or a folder is made."""

from __future__ import annotations

from fl_sparse.config import RunConfig
from fl_sparse.data.request import SourceRequest
from fl_sparse.data.sources import source_info
from fl_sparse.encoder.load import parse_normalization
from fl_sparse.encoder.spec import encoder_spec
from fl_sparse.errors import InputError


def check_data(config: RunConfig) -> None:
    """Refuse, in milliseconds, a data set, data folder, column, partition or encoder that cannot be had.

    What only the images tell, such as a damaged file or a class folder without images, is found when they are read. A
    name of timm's hub costs the import of timm.

    Whether images of a folder can have natural masks takes a look at the names and headers of its files.

    Raises
    ------
    InputError
        For an unknown data set or encoder, a data folder or encoder file that is missing, columns of a source that has
        none, the partition or the mask ``natural`` of data without ids or masks, or an encoder normalisation that
        cannot be read.
    """
    source = source_info(
        config.dataset,
        config.data_dir,
        image_column=config.image_column,
        label_column=config.label_column,
        id_column=config.id_column,
    )
    if config.partition == "natural" and not config.id_column:
        named = "" if source.has_columns else f", which dataset {config.dataset!r} does not have"
        raise InputError(f"partition 'natural' needs id-column: the column that says whose image it is{named}")
    if config.mask == "natural" and not source.has_masks(SourceRequest(config.dataset, config.data_dir, data_seed=0)):
        where = f"data-dir {config.data_dir!r}" if config.data_dir else f"dataset {config.dataset!r}"
        raise InputError(
            f"mask = 'natural' hides invalid pixels, and no image of {where} has any; expected images with "
            "transparency or mask files, or another mask rule"
        )
    parse_normalization(config.encoder_normalization, encoder_spec(config.encoder))
