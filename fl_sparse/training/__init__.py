"""Local training: one function over a stack of subnets, on NumPy or torch."""

from fl_sparse.training.absent_classes import ABSENT_CLASSES, AbsentClasses
from fl_sparse.training.batches import batch_rows
from fl_sparse.training.descent import OptimizerState
from fl_sparse.training.namespace import Namespace, TorchNamespace
from fl_sparse.training.optimizers import OPTIMIZERS, OptimizerSpec
from fl_sparse.training.ordered_dropout import OrderedDropout
from fl_sparse.training.stack import TrainResult, train_stack

__all__ = [
    "ABSENT_CLASSES",
    "OPTIMIZERS",
    "AbsentClasses",
    "Namespace",
    "OptimizerSpec",
    "OptimizerState",
    "OrderedDropout",
    "TorchNamespace",
    "TrainResult",
    "batch_rows",
    "train_stack",
]
