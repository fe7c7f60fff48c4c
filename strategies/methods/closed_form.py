"""Closed forms as strategies of one round: ridge regression, and the nearest class mean.

Every client is asked once for sums over its standardised features. Added up, the sums give the solution for all images
together, however these are split over the clients. The solution is a linear classifier, written and evaluated like any
other model. There is no descent, so rounds, steps, rates and the MLP's widths are not used. ``clients-per-round`` is
not used either, since there is no second round to ask the other clients in.

============== ==============================================================================================
``ridge``      X'X and X'Y from each client; logits are ten times the scores of ridge regression, whose penalty is
               ``ridge-penalty``, or chosen on the server's validation images
``class-mean`` X'Y alone, the sums of each class; logits are m_c·x − ‖m_c‖²/2, largest where ‖x − m_c‖ is smallest
============== ==============================================================================================

References
----------
E. Fanì et al., Accelerating Heterogeneous Federated Learning with Closed-form Classifiers (Fed3R), ICML 2024, §3.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.features.statistics import Standardizer
from fl_sparse.learn.closed_form import (
    Gram,
    GramSum,
    Labelled,
    chosen_penalty,
    gram_flops,
    nearest_mean,
    ridge_logits,
)
from fl_sparse.learn.task import Parameters
from fl_sparse.model.cost import Workload
from fl_sparse.model.mlp import OUTPUT
from fl_sparse.model.network import NetworkSpec
from fl_sparse.part import WHOLE
from fl_sparse.wire import (
    ClientDescription,
    TrainReply,
    content_of_gram_question,
    parameters_of,
    read_gram,
    wire_bytes,
)
from strategies.round.groups import (
    AssignmentRule,
    Axes,
    Group,
    Placement,
    by_position,
    check_takes_no_updates,
    everyone,
)
from strategies.round.replies import Read
from strategies.round.report import RoundReport
from strategies.round.sampling import drops_out
from strategies.round.strategy import SubmodelStrategy

Classifier = tuple[NDArray[Any], NDArray[Any]]
"""Weight (C, F) and bias (C,) of a linear classifier."""


@dataclass(frozen=True)
class ClosedForm(AssignmentRule):
    """A linear classifier from sums over clients; ``penalty`` is ridge regression's, 0 = chosen on validation."""

    class_sums: ClassVar[bool]
    """Whether the sums of each class, X'Y, are enough."""

    penalty: float

    @classmethod
    def from_config(cls, config: RunConfig, axes: Axes) -> Self:
        """Build the rule of a run.

        Raises
        ------
        InputError
            For a key that needs models to be trained.
        """
        check_takes_no_updates(config, f"strategy {config.strategy!r} trains no model")
        return cls(config.ridge_penalty)

    def place(self, round_number: int, clients: Sequence[ClientDescription]) -> list[Group]:
        """Return the whole linear classifier for all clients; any capacity can hold it."""
        return everyone(Placement(WHOLE), clients)

    @abstractmethod
    def solve(self, gram: Gram, validation: Labelled | None) -> Classifier:
        """Return the classifier; ``validation`` is None where the server holds no images."""


class Ridge(ClosedForm):
    """Ridge regression on one-hot labels."""

    class_sums = False

    @classmethod
    def from_config(cls, config: RunConfig, axes: Axes) -> Self:
        """Build the rule of a run.

        Raises
        ------
        InputError
            If there are no images to choose the penalty on.
        """
        if config.ridge_penalty == 0 and config.evaluate != "server":
            raise InputError(
                f"ridge-penalty = 0.0 is chosen on the server's validation images, but evaluate = {config.evaluate!r}"
            )
        return super().from_config(config, axes)

    def solve(self, gram: Gram, validation: Labelled | None) -> Classifier:
        """Return ridge regression's solution, as logits."""
        return ridge_logits(gram, chosen_penalty(self.penalty, gram, validation))


class ClassMean(ClosedForm):
    """Nearest class mean."""

    class_sums = True

    def solve(self, gram: Gram, validation: Labelled | None) -> Classifier:
        """Return the linear classifier that picks the nearest class mean."""
        return nearest_mean(gram)


class ClosedFormStrategy(SubmodelStrategy):
    """Asks every client for its sums, and solves for the classifier."""

    rule: ClosedForm

    def __init__(
        self,
        config: RunConfig,
        rule: ClosedForm,
        network: NetworkSpec,
        clients: Mapping[int, ClientDescription],
        standardizer: Standardizer | None,
        validation: Labelled | None,
    ) -> None:
        super().__init__(config, rule, network, clients, standardizer)
        self._validation = validation
        self._grams: dict[int, Gram] = {}
        self._gram = GramSum()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the question for every client, except those drawn to drop out."""
        self._parameters = parameters_of(arrays)
        nodes = self._reachable.among(grid.get_node_ids(), self.clients)
        self._silent = {node for node in nodes if drops_out(self.config, server_round, self.clients[node].partition_id)}
        self._groups = self.rule.place(server_round, [self.clients[node] for node in nodes])
        self._placed = dict(zip(nodes, by_position(self._groups), strict=True))
        self.report = RoundReport(asked=len(nodes))
        content = content_of_gram_question(self.standardizer, class_sums=self.rule.class_sums)
        down = wire_bytes(content)
        messages = []
        for node in nodes:
            client = self.clients[node]
            flops = gram_flops(
                client.num_examples * self.config.views,
                client.num_features,
                len(client.classes),
                class_sums=self.rule.class_sums,
            )
            self.report.work.append(Workload(0, 0.0, {"sums": flops}))
            self.report.bytes_down += down
            if self.clock is not None:
                self._times[node] = self.clock.time(client.partition_id, bytes_down=down, flops=flops)
            if node not in self._silent:
                messages.append(Message(content, node, "query.gram", group_id=str(server_round)))
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Return the solution, or None without a usable reply: the model stays as it is."""
        arrays, metrics = super().aggregate_train(server_round, replies)
        self.report.train_loss = None
        return arrays, metrics

    def _reader(self, server_round: int) -> Read[TrainReply]:
        def read(content: RecordDict, node: int) -> TrainReply:
            client = self.clients[node]
            self._grams[node] = read_gram(
                content, client.num_features, len(client.classes), class_sums=self.rule.class_sums
            )
            return TrainReply(server_round, 0, {}, client.num_examples, loss=0.0)

        return read

    def _begin(self) -> None:
        self._grams, self._gram = {}, GramSum()

    def _take(self, node: int, reply: TrainReply) -> None:
        self._gram.add(self._grams.pop(node))

    def _reassemble(self) -> Parameters:
        assert self._gram.total is not None
        weight, bias = self.rule.solve(self._gram.total, self._validation)
        return {
            OUTPUT.weight: np.ascontiguousarray(weight, dtype=np.float32),
            OUTPUT.bias: np.ascontiguousarray(bias, dtype=np.float32),
        }


def one_round(config: RunConfig) -> RunConfig:
    """Return a closed form's configuration with a linear classifier and one round."""
    return replace(config, hidden_widths="none", normalization="none", num_server_rounds=1)
