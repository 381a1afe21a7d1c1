"""A new method is one file; what else has to name it is found here when it was forgotten."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import inspector
from inspector.cam import METHODS
from inspector.cam import methods as folder
from tests.conftest import ROOT
from tests.test_cli import call

STEP = "see 'Add a method of class activation maps' in CONTRIBUTING.md"


def test_every_file_of_the_folder_is_a_method() -> None:
    files = {path.stem for path in Path(folder.__file__).parent.glob("[!_]*.py")}
    assert files == {method.formula.__module__.rpartition(".")[2] for method in METHODS.values()}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_named_wherever_people_look_for_it(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    word = re.compile(rf"(?<![\w+]){re.escape(method)}(?![\w+])")
    _, shown, _ = call(capsys, "cam", "--help")
    assert word.search(shown), f"`inspector cam --help` does not name {method}: inspector/cli/cam.py; {STEP}"
    assert word.search((ROOT / "README.md").read_text("utf-8")), f"README.md does not name {method}; {STEP}"
    pages = [path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md")]
    assert not pages or any(map(word.search, pages)), f"no page of docs/ names {method}; {STEP}"
    assert word.search((ROOT / "CHANGELOG.md").read_text("utf-8")), f"CHANGELOG.md does not name {method}; {STEP}"


def test_the_help_lists_the_methods_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    _, shown, _ = call(capsys, "cam", "--help")
    names = re.sub(r"[│|\s]", "", ", ".join(METHODS))
    assert names in re.sub(r"[│|\s]", "", shown), f"inspector/cli/cam.py, --method: {', '.join(METHODS)}; {STEP}"


@pytest.mark.parametrize(
    ("function", "file"),
    [(inspector.draw_maps, "inspector/api/draw.py"), (inspector.Model.cam, "inspector/api/model.py")],
)
def test_the_docstrings_list_the_methods_in_their_order(function: Callable[..., Any], file: str) -> None:
    listed = f"method: {', '.join(METHODS)}."
    assert listed in " ".join((inspect.getdoc(function) or "").split()), f"{file}: {listed} {STEP}"


def test_a_helper_in_the_folder_is_no_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "_helper.py").write_text("raise AssertionError('a helper is not imported')")
    monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(tmp_path)])
    assert [method.name for method in folder._find_methods()] == list(METHODS)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_method_names_its_paper_and_its_formula(method: object) -> None:
    assert re.search(r"\d{4}", method.paper)  # type: ignore[attr-defined]
    assert method.formula.__doc__, "a method's docstring holds its formula"  # type: ignore[attr-defined]
