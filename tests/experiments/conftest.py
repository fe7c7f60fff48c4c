"""A finished comparison, made once for all files on the report."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.experiments.comparisons import compare


@pytest.fixture(scope="session")
def finished(tiny_encoder: str, tmp_path_factory) -> Path:
    """A comparison of two strategies over three seeds, some of whose replies are lost."""
    out = tmp_path_factory.mktemp("comparison") / "grid"
    lossy = ["-c", "dropout-probability=0.4"]
    assert compare(tiny_encoder, out, "--vary", "strategy=ist,fedavg", "--seeds", "3", *lossy) == 0
    return out


@pytest.fixture
def grid(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "grid"))
