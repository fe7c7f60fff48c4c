"""What methods, messages and learners need to know of a model, whatever its kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fl_sparse.model.parameters import Model


class NetworkSpec(Protocol):
    """A classifier's sizes and parameters."""

    @property
    def model(self) -> Model:
        """The parameters by name, in the order of the pass forward."""

    @property
    def shared_axes(self) -> Mapping[str, int]:
        """Axis -> number of units, for the axes that methods share out, in the order of the pass forward."""

    @property
    def num_classes(self) -> int:
        """C."""
