"""The examples in docstrings and in docs/library.md are run."""

from __future__ import annotations

import doctest
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import inspector
from tests.conftest import DEFAULT_MODEL, ROOT, require

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
TORCH = ("inspector.twin", "inspector.ascent", "exporters.sources", "exporters.exporting", "exporters.finetuning")
NEEDS = {"inspector.api.many": "pyarrow", "inspector.serving.sources": "av"}
"""Packages of extras that the examples of other modules need."""
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("inspector", "exporters")
    for path in (ROOT / package).rglob("*.py")
    if ">>>" in path.read_text("utf-8")
)


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What an example may use: the default model, and an empty folder. It runs where the repository stands."""
    monkeypatch.chdir(ROOT)
    before = {path.name for path in ROOT.iterdir()}
    yield {"model": inspector.open_model(DEFAULT_MODEL), "folder": tmp_path}
    assert {path.name for path in ROOT.iterdir()} == before, "an example writes into the repository: use `folder`"


def run(examples: list[doctest.DocTest]) -> int:
    """Run examples, and say what was wrong; the number of lines that were run."""
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    said: list[str] = []
    for example in examples:
        runner.run(example, out=said.append)
    assert not runner.failures, "".join(said)
    return runner.tries


@pytest.mark.timeout(400)
@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_run(module: str, names: dict[str, Any]) -> None:
    if module.startswith(TORCH) or module in ("inspector.api.ascend", "inspector.api.make"):
        require("torch")
    if module in NEEDS:
        require(NEEDS[module])
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module), extraglobs=names)
    examples = [example for example in found if example.examples]
    assert examples, f"{module} has >>> outside of a docstring"
    run(examples)


def test_the_page_about_the_library_runs(names: dict[str, Any]) -> None:
    text = (ROOT / "docs" / "library.md").read_text("utf-8")
    blocks = re.findall(r"```pycon\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 8
    # One after the other, as a reader would: later blocks use names of earlier ones.
    example = doctest.DocTestParser().get_doctest("\n".join(blocks), names, "docs/library.md", "library.md", 0)
    assert run([example]) > 20
    for name in set(inspector.__all__) - {"__version__"}:
        assert f"`{name}`" in text or f"inspector.{name}" in text, f"docs/library.md says nothing of {name}"
