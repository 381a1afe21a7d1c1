"""Writes the table of heads in docs/tasks.md from the heads themselves.

Usage: python docs/scripts/heads.py

tests/tasks/test_adding.py compares what is written here with what stands in the file.
"""

from __future__ import annotations

import re
from pathlib import Path

from inspector.tasks.decoders import DECODERS

PAGE = Path(__file__).resolve().parents[1] / "tasks.md"
_BEGIN, _END = "<!-- heads: written by docs/scripts/heads.py -->", "<!-- end of heads -->"


def make_table() -> str:
    """The table: a row for each head, by name."""
    rows = [f"| `{name}` | {head.family} | {head.looks} |" for name, head in sorted(DECODERS.items())]
    return "\n".join(["| head | family | outputs |", "|---|---|---|", *rows])


def replace_table(page: str) -> str:
    """The page with its table written anew."""
    return re.sub(f"{_BEGIN}.*{_END}", lambda _: f"{_BEGIN}\n{make_table()}\n{_END}", page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(replace_table(PAGE.read_text("utf-8")), "utf-8")
