"""Messages: how weights, orders and results cross between server and client. The only package here that knows flwr."""

from fl_sparse.wire.arrays import LazyArray, array_record, parameters_of
from fl_sparse.wire.copies import copied
from fl_sparse.wire.grams import content_of_gram, content_of_gram_question, read_gram, read_gram_question
from fl_sparse.wire.messages import (
    content_of_description,
    content_of_evaluation,
    content_of_order,
    content_of_refusal,
    content_of_reply,
    read_description,
    read_evaluation,
    read_order,
    read_reply,
    refusal_of,
)
from fl_sparse.wire.sizes import wire_bytes

__all__ = [
    "LazyArray",
    "array_record",
    "content_of_description",
    "content_of_evaluation",
    "content_of_gram",
    "content_of_gram_question",
    "content_of_order",
    "content_of_refusal",
    "content_of_reply",
    "copied",
    "parameters_of",
    "read_description",
    "read_evaluation",
    "read_gram",
    "read_gram_question",
    "read_order",
    "read_reply",
    "refusal_of",
    "wire_bytes",
]
