"""Parts sent down in fewer bits, and what encoding loses (``broadcast-format``, ``broadcast-error-feedback``).

Symbols: θ a group's part as the server holds it; Q encoding and decoding; e the part's residual; θ_k what client k
trains from the values that it decodes, Q(θ + e).

The server holds θ in float32. Clients train from the base Q(θ + e), and the server adds their change, θ_k − base, to θ.
So encoding loses nothing of the model, only of what clients see of it. With error feedback, e ← θ + e − Q(θ + e) is
added when the same part is sent in the next round. A part with other units or masks has no residual.

References
----------
As `fl_sparse.codec.residual`. H. Tang et al., DoubleSqueeze, ICML 2019, compresses both ways with a residual each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.codec import CODECS
from fl_sparse.codec.residual import add_update, encode_and_lose
from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.learn.task import Parameters
from fl_sparse.nested_names import flattened, nested
from fl_sparse.part import Part
from fl_sparse.part.factored import FactoredWeight
from fl_sparse.wire import ClientDescription
from fl_sparse.wire.orders import AS_IT_IS, Broadcast
from strategies.round.groups import AssignmentRule, or_stay
from strategies.round.plan import planned


@dataclass(frozen=True)
class BroadcastResiduals:
    """Residuals e of the parts that the last round sent, by the part's digest."""

    by_part: Mapping[bytes, Parameters] = field(default_factory=dict, repr=False)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the residuals as arrays for a checkpoint."""
        return flattened({digest.hex(): values for digest, values in self.by_part.items()})

    @classmethod
    def load(cls, state: Mapping[str, NDArray[Any]]) -> BroadcastResiduals:
        """Build the residuals from what `state` returned."""
        return cls({bytes.fromhex(digest): values for digest, values in nested(state).items()})

    def sent(self, config: RunConfig, part: Part, values: Parameters) -> tuple[Broadcast, Parameters, Parameters]:
        """Return a part's values as they travel, as clients decode them, and its next residual (empty if none)."""
        codec = CODECS[config.broadcast_format]
        if codec.exact:
            return AS_IT_IS, values, {}
        if not config.broadcast_error_feedback:
            arrays: Mapping[str, NDArray[Any]] = codec.encode(values)
            return Broadcast(config.broadcast_format, arrays), codec.decode(arrays), {}
        before = self.by_part.get(part.digest)
        whole = values if before is None else {name: array + before[name] for name, array in values.items()}
        arrays, lost = encode_and_lose(whole, config.broadcast_format)
        return Broadcast(config.broadcast_format, arrays), codec.decode(arrays), lost or {}


def rebased(trained: Mapping[str, Any], base: Parameters, values: Parameters) -> dict[str, Any]:
    """Return θ + (θ_k − base): the server's values plus the client's change.

    Raises
    ------
    ValueError
        Naming a parameter whose sum is not finite.
    """
    factored = {
        name: replace(weight, received=values[name])
        for name, weight in trained.items()
        if isinstance(weight, FactoredWeight)
    }
    with np.errstate(over="ignore"):
        change = {name: weight - base[name] for name, weight in trained.items() if name not in factored}
    moved = add_update({name: values[name] for name in change}, change)
    return {name: factored[name] if name in factored else moved[name] for name in trained}


def check_broadcast_feedback(config: RunConfig, rule: AssignmentRule, clients: Iterable[ClientDescription]) -> None:
    """Refuse ``broadcast-error-feedback`` if no part is sent in two rounds in a row.

    Raises
    ------
    InputError
        If no residual would ever apply.
    """
    if not config.broadcast_error_feedback or not rule.planned:
        return
    before: set[bytes] = set()
    number, now = 0, set[bytes]()
    for number_now, _, group in planned(config, rule, clients):
        if number_now != number:
            number, before, now = number_now, now, set()
        if group.placement.part.digest in before:
            return
        now.add(group.placement.part.digest)
    raise InputError(
        f"broadcast-error-feedback = true: strategy {config.strategy!r} sends no part in two rounds in a row in any of "
        f"{config.num_server_rounds} rounds, so that nothing the server keeps could be added; "
        f"expected false{or_stay(rule)}"
    )
