"""Which kinds of SOURCE there are, read from their files, so that the command line can list them without torch.

A kind is one file of ``exporters/sources/kinds``. Its name is what stands before the colon of a SOURCE; its docstring
begins with the form in which such a SOURCE is written, up to a colon with a blank behind it.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

FALLBACK = "factory"
"""The kind of a SOURCE that names no other: package.module:factory."""


@cache
def list_source_forms() -> dict[str, str]:
    """Return the form of each kind by its name, ``{"timm": "timm:NAME", ...}``; the fallback comes last."""
    folder = Path(__file__).with_name("sources") / "kinds"
    files = {path.stem: path for path in sorted(folder.glob("[a-z]*.py"), reverse=True)}
    names = [*(name for name in files if name != FALLBACK), FALLBACK]
    return {name: _read_form(files[name]) for name in names}


def list_forms(last: str = ", ") -> str:
    """Return all forms as one text, with `last` before the last of them."""
    *first, fallback = list_source_forms().values()
    return f"{', '.join(first)}{last}{fallback}"


def _read_form(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split(": ", 1)[0]
