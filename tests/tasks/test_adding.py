"""The recipe for a new head in CONTRIBUTING.md: each step that is forgotten is named."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from inspector.tasks.decoder import BoxDecoder, Decoder, MapDecoder, PictureDecoder, VectorDecoder
from inspector.tasks.decoders import DECODERS
from tests.conftest import ROOT

FOLDER = ROOT / "inspector" / "tasks" / "decoders"


def test_every_file_is_a_head() -> None:
    files = {path.stem for path in FOLDER.glob("[!_]*.py")}
    assert files == DECODERS.keys(), "define DECODER in it, or begin its name with an underscore"
    assert [head.order for head in DECODERS.values()] == sorted(head.order for head in DECODERS.values())


@pytest.mark.parametrize("name", DECODERS)
def test_a_head_says_whose_it_is(name: str) -> None:
    head = DECODERS[name]
    assert issubclass(head, BoxDecoder | MapDecoder | VectorDecoder | PictureDecoder), "extend one of these"
    assert head.__module__ == f"inspector.tasks.decoders.{name}", "DECODER is the class of the file itself"
    for text in ("family", "looks"):
        assert getattr(head, text, ""), f"say {text}: it stands in docs/tasks.md"
    assert head.match.__func__ is not Decoder.match.__func__, "write match()"  # type: ignore[attr-defined]
    assert head.__doc__


def test_the_table_is_not_stale() -> None:
    page = Path(ROOT / "docs" / "tasks.md").read_text("utf-8")
    written = runpy.run_path(str(ROOT / "docs" / "scripts" / "heads.py"))["replace_table"](page)
    assert page == written, "run: python docs/scripts/heads.py"


def test_the_changelog_and_the_recipe_name_what_there_is() -> None:
    recipe = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for step in ("inspector/tasks/decoders/NAME.py", "tests/tasks/heads.py", "docs/scripts/heads.py", "CHANGELOG.md"):
        assert step in recipe.partition("## Add a head")[2].partition("\n## ")[0]
