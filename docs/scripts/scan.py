"""Writes the tables of columns of docs/scan.md from the code.

Usage: python docs/scripts/scan.py

tests/scanning/test_docs.py compares what is written here with what stands in the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from inspector.scanning.channels import CHANNEL_COLUMNS
from inspector.scanning.pictures import PICTURE_COLUMNS

PAGE = Path(__file__).resolve().parents[1] / "scan.md"
TABLES = {"channel columns": CHANNEL_COLUMNS, "picture columns": PICTURE_COLUMNS}


def write_columns(columns: Mapping[str, str]) -> str:
    """The rows of a table: one a column."""
    rows = [f"| `{name}` | {about} |" for name, about in columns.items()]
    return "\n".join(["| column | what it is |", "|---|---|", *rows])


def replace_tables(page: str) -> str:
    """The text of the page with both tables written anew."""
    for mark, columns in TABLES.items():
        table = f"<!-- {mark} -->\n\n{write_columns(columns)}\n"
        page = re.sub(rf"<!-- {mark} -->\n(\n\|(.|\n)*?\|\n(?=\n|\Z))?", lambda _, table=table: table, page)
    return page


if __name__ == "__main__":
    PAGE.write_text(replace_tables(PAGE.read_text("utf-8")), "utf-8")
