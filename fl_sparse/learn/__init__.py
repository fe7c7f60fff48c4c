"""Local training: one function over a stack of subnets, on NumPy or torch."""

from fl_sparse.learn.absent_classes import ABSENT_CLASSES, AbsentClasses
from fl_sparse.learn.array_ops import ArrayOps, TorchOps
from fl_sparse.learn.batches import batch_rows
from fl_sparse.learn.descent import OptimizerState
from fl_sparse.learn.mlp_stack.stack import TrainResult, train_stack
from fl_sparse.learn.optimizers import OPTIMIZERS, OptimizerSpec
from fl_sparse.learn.ordered_dropout import OrderedDropout

__all__ = [
    "ABSENT_CLASSES",
    "OPTIMIZERS",
    "AbsentClasses",
    "ArrayOps",
    "OptimizerSpec",
    "OptimizerState",
    "OrderedDropout",
    "TorchOps",
    "TrainResult",
    "batch_rows",
    "train_stack",
]
