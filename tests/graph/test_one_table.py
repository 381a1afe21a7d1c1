"""What an operator is stands in one table: no other module keeps a list of operators of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from inspector.graph import OPERATORS
from tests.conftest import ROOT

NAMES = {name for _, name in OPERATORS}
# The table itself; the twin, which holds a torch function for each operator. The numpy gradients and the receptive
# fields register their rules one by one, which is no list.
EXEMPT = ("inspector/graph/operators/", "inspector/twin/")
FILES = [
    path
    for package in ("inspector", "exporters")
    for path in sorted((ROOT / package).rglob("*.py"))
    if not path.relative_to(ROOT).as_posix().startswith(EXEMPT)
]


def lists_of_operators(source: str) -> Iterator[tuple[int, list[str]]]:
    """(line, names) of each literal of a set, dict, list or tuple, and each string that is split, with two or more."""
    for node in ast.walk(ast.parse(source)):
        parts: list[ast.expr | None] = []
        if isinstance(node, ast.Set | ast.Tuple | ast.List):
            parts = [*node.elts]
            # Pairs of a name and something else are a dict in another form.
            parts += [inner for part in node.elts if isinstance(part, ast.Tuple) for inner in part.elts]
        elif isinstance(node, ast.Dict):
            parts = [*node.keys, *node.values]
        texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "split":
            inside = node.func.value
            texts = inside.value.split() if isinstance(inside, ast.Constant) and isinstance(inside.value, str) else []
        if len(names := sorted({text for text in texts if text in NAMES})) > 1:
            yield node.lineno, names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_other_list_of_operators(path: Path) -> None:
    found = [f"line {line}: {', '.join(names)}" for line, names in lists_of_operators(path.read_text())]
    assert not found, f"ask a row of inspector/graph/operators instead of listing operators in {path.name}: {found}"


@pytest.mark.parametrize(
    "source",
    [
        "X = {'Relu', 'Clip'}",
        "X = frozenset(('Relu', 'Clip'))",
        "X = {'Relu': 1, 'Clip': 2}",
        "X = 'Relu Clip'.split()",
        "X = (('Relu', 'relu'), ('Clip', 'hardswish'))",
        "def f(op): return op in ('Relu', 'Clip')",
    ],
)
def test_lists_are_found(source: str) -> None:
    assert list(lists_of_operators(source)) == [(1, ["Clip", "Relu"])]
    assert not list(lists_of_operators("def f(op): return op == 'Relu' or helper.make_node('Clip', ['x'], ['y'])"))
