"""The ClientApp: each kind of message is answered by a function of the message and of what the node holds."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod

from client.held_data import HeldData, held_data, training_rows
from fl_sparse import __version__
from fl_sparse.data.client_rows import ClientRows
from fl_sparse.errors import InputError
from fl_sparse.features.statistics import Standardizer
from fl_sparse.federation import local_statistics
from fl_sparse.learn.closed_form import gram_of
from fl_sparse.learn.evaluation import evaluate_table
from fl_sparse.learn.learner import ClientJob, FeatureRows, train_in_turn
from fl_sparse.learn.mlp_stack.learner import MLPLearner
from fl_sparse.learn.task import mlp_of
from fl_sparse.shard.size import training_bytes
from fl_sparse.wire import (
    ClientDescription,
    EvaluationReply,
    Standardizing,
    content_of_description,
    content_of_evaluation,
    content_of_gram,
    content_of_refusal,
    content_of_reply,
    read_evaluation_order,
    read_gram_question,
    read_order,
)
from fl_sparse.wire.replies import reply_to
from fl_sparse.wire.residual_state import keep_residual, kept_residual

Answer = Callable[[Message, Context], RecordDict]
STATE = "standardizer"


def _answers(answer: Answer) -> Callable[[Message, Context], Message]:
    """Turn an answer into a message handler; a mistake in the node's data is sent as a refusal, not raised."""

    @functools.wraps(answer)
    def handle(message: Message, context: Context) -> Message:
        try:
            content = answer(message, context)
        except InputError as error:
            content = content_of_refusal(str(error))
        return Message(content, reply_to=message)

    return handle


@_answers
def describe(message: Message, context: Context) -> RecordDict:
    """Answer round 0's question: who this node is, how much it holds, and the statistics of its features."""
    data = _held(context)
    rows, shard = data.rows.training, data.table.shard
    return content_of_description(
        ClientDescription(
            partition_id=data.partition_id,
            num_examples=len(rows),
            num_features=data.table.features.shape[-1],
            classes=data.table.classes,
            capacity=data.capacity,
            statistics=local_statistics(data.table, rows),
            version=__version__,
            shard_bytes=None if shard is None else int(training_bytes(shard, ClientRows.of([rows]))[0]),
        )
    )


@_answers
def train(message: Message, context: Context) -> RecordDict:
    """Train the part in the message on this node's features."""
    order, data = read_order(message.content), _held(context)
    features, labels = training_rows(data, _standardizer(order.standardizing, context))
    rows = FeatureRows(features, labels, data.table.features.shape[0])
    job = ClientJob(order.job, data.partition_id, np.arange(len(labels)))
    (trained,) = train_in_turn(MLPLearner(), [job], rows)
    reply, residual = reply_to(order, trained, kept_residual(context))
    keep_residual(context, residual)
    return content_of_reply(reply)


@_answers
def gram(message: Message, context: Context) -> RecordDict:
    """Answer with the Gram matrices of this node's features, or the sums of each class, for a closed form."""
    data = _held(context)
    standardizer, class_sums = read_gram_question(message.content)
    features, labels = training_rows(data, standardizer)
    views = data.table.features.shape[0]
    sums = gram_of(features, np.tile(labels, views), len(data.table.classes), class_sums=class_sums)
    return content_of_gram(sums)


@_answers
def evaluate(message: Message, context: Context) -> RecordDict:
    """Evaluate the whole MLP on the images that this node held back."""
    order, data = read_evaluation_order(message.content), _held(context)
    standardizer = _standardizer(order.standardizing, context)
    rows = data.rows.held_out
    features = data.table.features[0, rows]
    inputs = features if standardizer is None else standardizer(features)
    score = evaluate_table(order.job.part.parameters, mlp_of(order.job), inputs, data.table.labels[rows])
    return content_of_evaluation(EvaluationReply(order.round, score.accuracy, score.loss, score.num_examples))


def client_app(mods: list[Mod] | None = None) -> ClientApp:
    """Return the ClientApp, with Flower's mods around each message if any are given."""
    made = ClientApp(mods=mods)
    made.query()(describe)
    made.query("gram")(gram)
    made.train()(train)
    made.evaluate()(evaluate)
    return made


def _held(context: Context) -> HeldData:
    return held_data(context.run_config, context.node_config)


def _standardizer(standardizing: Standardizing, context: Context) -> Standardizer | None:
    """Return the federation's standardizer: from the message, else from the node's own state."""
    if not standardizing.expected:
        return None
    if (sent := standardizing.sent) is not None:
        context.state[STATE] = ConfigRecord({"mean": sent.mean.tobytes(), "inverse-std": sent.inverse_std.tobytes()})
        return sent
    if STATE not in context.state:
        raise InputError("the node holds no standardizer: its state was lost, it gets another with the next message")
    kept = context.state.config_records[STATE]
    read = {key: np.frombuffer(kept[key], dtype="<f4") for key in ("mean", "inverse-std")}  # type: ignore[arg-type]
    return Standardizer(mean=read["mean"], inverse_std=read["inverse-std"])


app = client_app()
