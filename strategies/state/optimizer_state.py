"""Clients' optimiser state that outlives the round (``optimizer-state = kept``), held by the server.

Symbols: θ_j a coordinate, t local steps so far, τ local steps of a round, β a moment's decay rate.

Moments take the way of the weights: cut out by the same assignment, moved by the same steps, put back by the same
weighted means, so that θ_j and its moments have the same owners, and a coordinate that nobody held keeps both, bit for
bit. With Adam's moments travels t, one number for the whole model: τ times the rounds so far with at least one usable
reply. Subnets meet a coordinate in some rounds only, and Adam's correction by 1 − β^t would take it for one met in all,
and step too far. So the server holds Adam's moments corrected, as weighted means of the gradients met, hands them out
times 1 − β^t, and divides what comes back by 1 − β^(t+τ), or by 1 − β^τ where a coordinate is met for the first time.
Where every round covers every coordinate (whole models, one subnet) this is Adam itself: with one client R rounds of τ
steps are one run of R·τ steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fl_sparse.config import RunConfig
from fl_sparse.learn.descent import moment_names
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.model.mlp import SKIP_NAMES
from fl_sparse.part import Reassembly, SubnetAssignment, SubnetUpdate, extract
from fl_sparse.wire.exchange import OptimizerMoments, Parameters, TrainOrder

DECAY = {"first": OptimizerSpec.beta1, "second": OptimizerSpec.beta2}
"""β of Adam's moments."""


def kept_moments(config: RunConfig) -> tuple[str, ...]:
    """Return the names of the moments that outlive a round, none under ``optimizer-state = fresh``."""
    optimizer = OptimizerSpec(config.optimizer, config.learning_rate, config.momentum, config.proximal)
    return moment_names(optimizer) if config.optimizer_state == "kept" else ()


def trained_parameters(parameters: Parameters) -> dict[str, NDArray[np.float32]]:
    """Return the parameters that have moments: all but the skip term, which is never trained."""
    return {name: values for name, values in parameters.items() if name not in SKIP_NAMES}


@dataclass(frozen=True)
class KeptState:
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

    def begun(self, parameters: Parameters, config: RunConfig) -> KeptState:
        """Return the state before a round: this one, or an unmet one before the first of a run that keeps states."""
        moments = kept_moments(config)
        if self.moments or not moments:
            return self
        trained = trained_parameters(parameters)
        unmet = {name: np.full_like(values, np.nan) for name, values in trained.items()}
        return KeptState(0, dict.fromkeys(moments, unmet))

    def handed(self, order: TrainOrder, part: OptimizerMoments) -> TrainOrder:
        """Return the order with the state that its optimiser goes on from, if there is any: its subnet's `part`."""
        return replace(order, moments=part, steps_taken=self.steps) if self.moments else order

    def part(self, assignment: SubnetAssignment) -> dict[str, Parameters]:
        """Return a subnet's moments after t steps, uncorrected as optimisers hold them; 0 for unmet coordinates."""
        return {
            moment: {
                name: np.nan_to_num(values * _correction(moment, self.steps), copy=False)
                for name, values in extract(held, assignment).items()
            }
            for moment, held in self.moments.items()
        }


class StateReassembly:
    """The state after a round, from updates that come one by one.

    Parameters
    ----------
    state
        The state before; not changed.
    """

    def __init__(self, state: KeptState) -> None:
        self._state = state
        self._sums = {moment: Reassembly(held) for moment, held in state.moments.items()}
        self._any = False

    def add(self, update: SubnetUpdate, moments: OptimizerMoments) -> None:
        """Take the next accepted update's moments, which weigh as much as its parameters."""
        self._any = True
        for moment, sums in self._sums.items():
            sums.add(replace(update, parameters=moments[moment]))

    def result(self, local_steps: int) -> KeptState:
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
        return KeptState(steps, after)


def _correction(moment: str, steps: int) -> float:
    """Return the sum of the weights of a moment's gradients: 1 − β^t of Adam's; 1 of SGD's, a plain sum."""
    return 1 - DECAY[moment] ** steps if moment in DECAY else 1.0
