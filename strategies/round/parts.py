"""The parts of models, and of the optimiser state kept for them, that a round hands out, each cut out once."""

from __future__ import annotations

from fl_sparse.part import SubnetAssignment, extract
from fl_sparse.wire.exchange import OptimizerMoments, Parameters
from strategies.state.optimizer_state import KeptState


class Parts:
    """Parts of a round's models and state, shared by all clients that train the same units: to be read, not written.

    Parameters
    ----------
    kept
        The clients' optimiser state before the round.
    """

    def __init__(self, kept: KeptState) -> None:
        self._kept = kept
        self._moments: dict[bytes, OptimizerMoments] = {}
        self._cuts: dict[tuple[int, bytes], tuple[Parameters, Parameters]] = {}

    def cut(self, model: Parameters, assignment: SubnetAssignment) -> Parameters:
        """Return the assignment's part of a model."""
        key = id(model), assignment.digest()
        if key not in self._cuts:
            # The model is kept beside what was cut of it: what is gone may leave its id to another.
            self._cuts[key] = model, extract(model, assignment)
        return self._cuts[key][1]

    def moments(self, assignment: SubnetAssignment) -> OptimizerMoments:
        """Return the assignment's part of the state; none where nothing is kept."""
        key = assignment.digest()
        if key not in self._moments:
            self._moments[key] = self._kept.part(assignment)
        return self._moments[key]
