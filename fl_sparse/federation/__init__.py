"""A federation's data, from images to the tables of features that clients train on and the server evaluates on."""

from fl_sparse.federation.checks import check_data
from fl_sparse.federation.device import device_table
from fl_sparse.federation.local import LocalRows, local_rows, local_statistics, standardized
from fl_sparse.federation.statistics import federation_statistics
from fl_sparse.federation.store import store_folder
from fl_sparse.federation.tables import (
    FeatureTable,
    HeldOut,
    SplitLabels,
    TrainingTable,
    held_out_tables,
    holdings,
    remember_training_table,
    training_table,
)

__all__ = [
    "FeatureTable",
    "HeldOut",
    "LocalRows",
    "SplitLabels",
    "TrainingTable",
    "check_data",
    "device_table",
    "federation_statistics",
    "held_out_tables",
    "holdings",
    "local_statistics",
    "local_rows",
    "remember_training_table",
    "standardized",
    "store_folder",
    "training_table",
]
