"""Messages: weights, orders and results between server and client. The only package of fl_sparse that imports flwr."""

from fl_sparse.wire.arrays import LazyArray, array_record, parameters_of
from fl_sparse.wire.copies import SharedContent, copied
from fl_sparse.wire.evaluation import EvaluationReply, content_of_evaluation, read_evaluation
from fl_sparse.wire.grams import content_of_gram, content_of_gram_question, read_gram, read_gram_question
from fl_sparse.wire.orders import (
    EvaluationOrder,
    TrainOrder,
    content_of_evaluation_order,
    content_of_order,
    read_evaluation_order,
    read_order,
)
from fl_sparse.wire.refusal import content_of_refusal, refusal_of
from fl_sparse.wire.replies import Expected, TrainReply, content_of_reply, read_reply
from fl_sparse.wire.round_zero import ClientDescription, content_of_description, read_description
from fl_sparse.wire.sizes import wire_bytes
from fl_sparse.wire.standardizer import Standardizing

__all__ = [
    "ClientDescription",
    "EvaluationOrder",
    "EvaluationReply",
    "Expected",
    "LazyArray",
    "SharedContent",
    "Standardizing",
    "TrainOrder",
    "TrainReply",
    "array_record",
    "content_of_description",
    "content_of_evaluation",
    "content_of_evaluation_order",
    "content_of_gram",
    "content_of_gram_question",
    "content_of_order",
    "content_of_refusal",
    "content_of_reply",
    "copied",
    "parameters_of",
    "read_description",
    "read_evaluation",
    "read_evaluation_order",
    "read_gram",
    "read_gram_question",
    "read_order",
    "read_reply",
    "refusal_of",
    "wire_bytes",
]
