"""Functions of more than seven parameters are rare, and each has a reason."""

import ast
from pathlib import Path

from tests.architecture.test_imports import modules

ROOT = Path(__file__).resolve().parents[2]
MOST = 7
REASONS = {
    ("fl_sparse/data/partition.py", "partition"): "a configuration's keys, spelled out: data knows no configuration",
    ("fl_sparse/encoder/convert.py", "convert_checkpoint"): "what a foreign checkpoint does not say of itself",
    ("fl_sparse/masks/draw.py", "draw_masks"): "what a draw depends on, all of it",
    ("fl_sparse/pretraining/loop.py", "pretrain"): "one whole command",
    ("fl_sparse/probe/grid.py", "probe_grid"): "one whole command",
    ("fl_sparse/probe/grid.py", "_measured"): "one cell of that command",
    ("fl_sparse/shard/build.py", "build_shard"): "everything that decides a shard's bytes",
}


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = [*node.args.posonlyargs, *node.args.args]
    bound = bool(arguments) and arguments[0].arg in ("self", "cls")
    return len(arguments) - bound + len(node.args.kwonlyargs)


def test_long_signatures_are_those_that_have_a_reason() -> None:
    found = set()
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and parameters(node) > MOST:
                found.add((path.relative_to(ROOT).as_posix(), node.name))
    assert found == set(REASONS)


NAMES = ("hidden.", "output.", "skip.", ".weight", ".bias")
"""What the names of an MLP's parameters begin or end with."""
KNOW_NAMES = ("fl_sparse/model/", "fl_sparse/part/")
OTHER_MEANINGS = {
    "fl_sparse/encoder": "timm's own names",
    "fl_sparse/pretraining": "timm's own names",
}


def test_nobody_outside_model_and_part_looks_into_a_parameters_name() -> None:
    found = []
    for path in modules():
        place = path.relative_to(ROOT).as_posix()
        if place.startswith((*KNOW_NAMES, *OTHER_MEANINGS)):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
                # Sentences may name a parameter; code that takes one apart holds a piece of a name, or a whole one.
                if " " not in text and "\n" not in text and (text.startswith(NAMES[:3]) or text.endswith(NAMES[3:])):
                    found.append(f"{place}:{node.lineno}: {text!r}")
    assert not found


def test_nobody_compares_identities() -> None:
    """Groups say who shares what: ``id()`` would find it out afterwards, and may be reused."""
    found = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "id":
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found
