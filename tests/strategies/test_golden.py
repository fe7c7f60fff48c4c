"""Short runs give the numbers they gave before; `golden.py` made them."""

import json
import runpy
from pathlib import Path

import pytest

from strategies.registry import STRATEGIES

HERE = Path(__file__).parent
PROGRAM = runpy.run_path(str(HERE / "golden.py"))
GOLDEN = json.loads((HERE / "golden.json").read_text(encoding="utf-8"))


def test_every_strategy_has_a_golden_run() -> None:
    assert {name.split()[0] for name in GOLDEN} == set(STRATEGIES) - set(PROGRAM["CLOSED_FORMS"])
    assert set(GOLDEN) == set(PROGRAM["RUNS"])


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_a_short_run_repeats(name: str) -> None:
    for key, values in PROGRAM["run"](name).items():
        assert values == pytest.approx(GOLDEN[name][key], rel=1e-4), key
