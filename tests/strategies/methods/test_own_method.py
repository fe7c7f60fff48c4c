"""The method that docs/strategies.md writes from start to end works as it stands there."""

import inspect
import json
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

from experiments.__main__ import main
from strategies.registry import STRATEGIES

HERE = Path(__file__).parent
PAGE = (HERE.parents[2] / "docs" / "strategies.md").read_text(encoding="utf-8")
FILE, LINE = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
(COMMAND,) = re.findall(r"```\npython -m experiments (.*)\n```", PAGE)


@pytest.fixture
def registered(monkeypatch) -> str:
    """Save the page's file as a module and add the page's line to the registry, for one test."""
    module = ModuleType("strategies.striped")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(FILE, "docs/strategies.md", "exec"), module.__dict__)
    ((name, method),) = eval(f"{{{LINE}}}", module.__dict__).items()
    monkeypatch.setitem(STRATEGIES, name, method)
    return name


def test_its_command_runs(registered: str, tiny_encoder: str, tmp_path: Path) -> None:
    small = [f"encoder={tiny_encoder}", "hidden-widths=24,20", "num-server-rounds=3", "local-steps=2"]
    extra = [part for key in small for part in ("-c", key)]
    assert main([*COMMAND.split(), *extra, "--out", str(tmp_path), "--name", "own"]) == 0
    summary = json.loads((tmp_path / "own" / "summary.json").read_text())
    assert summary["rounds"] == 3
    assert summary["refused"] == summary["lost"] == 0


def test_it_keeps_every_law_of_the_contract(registered: str) -> None:
    files = sorted(HERE.parent.glob("test_contract*.py"))
    assert len(files) == 4
    laws = [
        law
        for file in files
        for key, law in runpy.run_path(str(file)).items()
        if key.startswith("test_") and list(inspect.signature(law).parameters) == ["name"]
    ]
    assert len(laws) > 25
    for law in laws:
        law(registered)


def test_every_strategy_stands_in_the_table() -> None:
    assert set(re.findall(r"^\| \[`([a-z-]+)`\]", PAGE, flags=re.MULTILINE)) == set(STRATEGIES)
