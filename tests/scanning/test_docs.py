"""The page of the documentation has the columns that are written."""

from __future__ import annotations

import runpy

from tests.conftest import ROOT


def test_the_columns_of_the_page_are_not_stale() -> None:
    page = (ROOT / "docs" / "scan.md").read_text("utf-8")
    written = runpy.run_path(str(ROOT / "docs" / "scripts" / "scan.py"))["replace_tables"](page)
    assert page == written, "run: python docs/scripts/scan.py"
    assert "| `selectivity` |" in page
