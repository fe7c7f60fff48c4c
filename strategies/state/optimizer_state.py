"""Clients' optimiser state that outlives the round (``optimizer-state = kept``), held by the server.

Symbols: θ_j a coordinate, t local steps so far, τ local steps of a round, β a moment's decay rate.

Moments travel like weights: the same part cuts them out, the same steps move them, the same weighted means put them
back. So θ_j and its moments have the same owners, and where nobody held j both stay as they are, bit for bit. Adam's t
is one number for the whole model: τ times the rounds so far with at least one usable reply.

Subnets meet a coordinate in some rounds only. Adam's correction by 1 − β^t assumes that all rounds met it, and would
step too far. So the server holds Adam's moments corrected, as weighted means of the gradients met. It sends them times
1 − β^t, and divides what comes back by 1 − β^(t+τ), or by 1 − β^τ where a coordinate is met for the first time. If all
rounds cover all coordinates (whole models, one subnet), this is Adam: R rounds of one client are R·τ steps of one run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.config import RunConfig
from fl_sparse.learn.descent import moment_names
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.learn.task import FRESH, CarriedState, OptimizerMoments, Parameters
from fl_sparse.model.parameters import Model
from fl_sparse.nested_names import flattened, nested
from fl_sparse.part import Part, PartUpdate, Reassembly
from strategies.round.orders import optimizer_of

STEPS = "steps"
DECAY = {"first": OptimizerSpec.beta1, "second": OptimizerSpec.beta2}
"""β of Adam's moments."""


def kept_moments(config: RunConfig) -> tuple[str, ...]:
    """Return the names of the moments that outlive a round, none under ``optimizer-state = fresh``."""
    return moment_names(optimizer_of(config)) if config.optimizer_state == "kept" else ()


@dataclass(frozen=True)
class ClientOptimizerState:
    """The optimiser state of the whole model.

    Parameters
    ----------
    steps
        t; 0 before the first usable reply.
    moments
        Moment -> trained parameter -> float32 values of its shape, Adam's corrected; NaN where no client has met the
        coordinate yet. Empty before the first round.
    """

    steps: int = 0
    moments: OptimizerMoments = field(default_factory=dict, repr=False)

    def begun(self, model: Model, parameters: Parameters, config: RunConfig) -> ClientOptimizerState:
        """Return the state that a round starts from: this one, or NaN moments before the first if moments are kept."""
        moments = kept_moments(config)
        if self.moments or not moments:
            return self
        unmet = {name: np.full_like(values, np.nan) for name, values in parameters.items() if model[name].trained}
        return ClientOptimizerState(0, dict.fromkeys(moments, unmet))

    def part(self, model: Model, part: Part) -> CarriedState:
        """Return a part's state after t steps, uncorrected as optimisers hold it; 0 for unmet coordinates."""
        if not self.moments:
            return FRESH
        moments = {
            moment: {
                name: np.nan_to_num(values * _correction(moment, self.steps), copy=False)
                for name, values in part.cut(model, held).items()
            }
            for moment, held in self.moments.items()
        }
        return CarriedState(moments, self.steps)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the state as arrays for a checkpoint."""
        return {STEPS: np.array(self.steps, dtype=np.int64), **flattened(self.moments)} if self.moments else {}

    @classmethod
    def load(cls, state: Mapping[str, NDArray[Any]]) -> ClientOptimizerState:
        """Build the state from what `state` returned."""
        if not state:
            return cls()
        moments = {name: values for name, values in state.items() if name != STEPS}
        return cls(int(state.get(STEPS, 0)), nested(moments))


class StateReassembly:
    """Builds the state after a round from updates that come one by one.

    Parameters
    ----------
    model
        The whole model.
    state
        The state before; not changed.
    """

    def __init__(self, model: Model, state: ClientOptimizerState) -> None:
        self._state = state
        self._sums = {moment: Reassembly(model, held) for moment, held in state.moments.items()}
        self._any = False

    def add(self, moments: Mapping[str, PartUpdate]) -> None:
        """Add the next accepted update's moments, with the weight of its parameters."""
        self._any = True
        for moment, sums in self._sums.items():
            sums.add(moments[moment])

    def result(self, local_steps: int) -> ClientOptimizerState:
        """Return the state after τ = ``local_steps`` more steps; without an update, the state before."""
        if not self._any or not self._sums:
            return self._state
        steps = self._state.steps + local_steps
        after: dict[str, Parameters] = {}
        for moment, held in self._state.moments.items():
            merged, covered = self._sums[moment].result()
            usual, first = _correction(moment, steps), _correction(moment, local_steps)
            for name, values in merged.items():
                place = ... if (mask := covered[name]) is None else mask
                values[place] /= np.where(np.isnan(held[name][place]), np.float32(first), np.float32(usual))
            after[moment] = merged
        return ClientOptimizerState(steps, after)


def _correction(moment: str, steps: int) -> float:
    """Return the sum of a moment's gradient weights: 1 − β^t for Adam; 1 for SGD, whose moment is a plain sum."""
    return 1 - DECAY[moment] ** steps if moment in DECAY else 1.0
