"""`flwr run` and `python -m experiments run` start from the same defaults, and versions agree everywhere."""

import tomllib
from pathlib import Path

import fl_sparse
from fl_sparse.config import defaults
from server.launch import OPTIONS

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8"))


def test_flower_config_repeats_the_dataclass() -> None:
    assert PROJECT["tool"]["flwr"]["app"]["config"] == {**defaults(), **dict.fromkeys(OPTIONS, "")}


def test_version_is_the_packages() -> None:
    assert PROJECT["project"]["version"] == fl_sparse.__version__


def test_wheel_ships_the_library_alone() -> None:
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["fl_sparse"]
