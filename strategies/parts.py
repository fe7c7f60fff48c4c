"""The parts of models that a round hands out, each cut out once."""

from __future__ import annotations

from fl_sparse.exchange import Parameters
from fl_sparse.subnet import SubnetAssignment, extract


class Parts:
    """Parts of a round's models, shared by all clients that train the same units: to be read, not written."""

    def __init__(self) -> None:
        self._cuts: dict[tuple[int, bytes], tuple[Parameters, Parameters]] = {}

    def cut(self, model: Parameters, assignment: SubnetAssignment) -> Parameters:
        """Return the assignment's part of a model."""
        key = id(model), assignment.digest()
        if key not in self._cuts:
            # The model is kept beside what was cut of it: what is gone may leave its id to another.
            self._cuts[key] = model, extract(model, assignment)
        return self._cuts[key][1]
