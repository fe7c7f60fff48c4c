"""No module imports itself through other modules: what lies in a circle can only be read and changed together."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("fl_sparse", "strategies", "client", "server", "experiments")

Graph = Mapping[str, set[str]]
"""The modules that each module imports."""


def sources() -> dict[str, str]:
    """Return the text of each of our modules by its dotted name; a package's name is that of its ``__init__``."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return {
        name.removesuffix(".__init__"): path.read_text(encoding="utf-8")
        for name, path in zip(names, paths, strict=True)
    }


def import_graph(texts: Mapping[str, str]) -> Graph:
    """Return what each module imports, wherever the statement stands: also in a function or under TYPE_CHECKING."""
    return {name: set(imported(text, texts)) & texts.keys() for name, text in texts.items()}


def imported(text: str, modules: Mapping[str, str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module


def circles(graph: Graph) -> list[list[str]]:
    """Return the strongly connected components of more than one module: sets in which each imports every other."""
    reached = {module: reachable(graph, module) for module in graph}
    components = {
        frozenset(other for other in reached[module] if module in reached[other])
        for module in graph
        if module in reached[module]
    }
    return sorted(sorted(component) for component in components if len(component) > 1)


def reachable(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def test_no_module_imports_itself_through_others() -> None:
    found = circles(import_graph(sources()))
    assert not found, "modules that import each other:\n" + "\n".join(" <-> ".join(circle) for circle in found)


@pytest.mark.parametrize(
    "statement",
    [
        "import p.b",
        "from p import b",
        "from p.b import name",
        "def f():\n    from p.b import name",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.b import name",
    ],
)
def test_every_way_to_import_a_module_counts(statement: str) -> None:
    graph = import_graph({"p": "", "p.a": statement, "p.b": "import p.a\nimport numpy"})
    assert graph == {"p": set(), "p.a": {"p.b"}, "p.b": {"p.a"}}
    assert circles(graph) == [["p.a", "p.b"]]


def test_a_name_of_a_package_comes_from_its_init() -> None:
    assert import_graph({"p": "from p.a import name", "p.a": "from p import name"}) == {"p": {"p.a"}, "p.a": {"p"}}


def test_each_circle_is_named_once() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d", "f"}, "f": set()}
    assert circles(graph) == [["a", "b", "c"], ["d", "e"]]


@given(st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)).filter(lambda edge: edge[0] != edge[1])))
def test_circles_are_found_where_no_order_exists(edges: set[tuple[int, int]]) -> None:
    graph: dict[str, set[str]] = {str(node): set() for node in range(7)}
    for one, other in edges:
        graph[str(one)].add(str(other))
    try:
        TopologicalSorter(graph).prepare()
        ordered = True
    except CycleError:
        ordered = False
    assert (circles(graph) == []) == ordered
