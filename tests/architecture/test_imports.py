"""Imports run one way, and only the wire knows Flower inside the library."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = {
    "fl_sparse": {"fl_sparse"},
    "strategies": {"strategies", "fl_sparse"},
    "client": {"client", "fl_sparse"},
    "server": {"server", "strategies", "fl_sparse"},
    "experiments": {"experiments", "server", "client", "strategies", "fl_sparse"},
}
OURS = set(ALLOWED) | {"tests"}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def modules() -> list[Path]:
    return [path for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_import_only_what_lies_below_them(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    reached = {name.partition(".")[0] for name in imported(path)} & OURS
    assert reached <= ALLOWED[package]


MIDDLE = {"model": 0, "part": 1, "codec": 2, "learn": 2, "wire": 3}
"""The library's middle from the ground up: a package imports those below it, or what is none of them."""


@pytest.mark.parametrize("package", MIDDLE)
def test_the_middle_of_the_library_is_built_from_the_ground_up(package: str) -> None:
    for path in sorted((ROOT / "fl_sparse" / package).rglob("*.py")):
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == "fl_sparse" and len(parts) > 1 and parts[1] in MIDDLE and parts[1] != package:
                assert MIDDLE[parts[1]] < MIDDLE[package], f"{path}: {name}"


def test_only_the_wire_imports_flower_in_the_library() -> None:
    users = {
        path.relative_to(ROOT).parts[1]
        for path in modules()
        if path.relative_to(ROOT).parts[0] == "fl_sparse"
        and any(name.partition(".")[0] == "flwr" for name in imported(path))
    }
    assert users == {"wire"}


def test_nothing_is_unpickled() -> None:
    for path in modules():
        text = path.read_text(encoding="utf-8")
        assert "import pickle" not in text, path
        assert "allow_pickle=True" not in text, path
        assert "weights_only=False" not in text, path
