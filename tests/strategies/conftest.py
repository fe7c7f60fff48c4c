"""The strategies that the laws are about."""

from __future__ import annotations

import pytest

from tests.strategies.cohort_of_five import AVERAGING


@pytest.fixture(params=AVERAGING)
def name(request) -> str:
    return request.param
