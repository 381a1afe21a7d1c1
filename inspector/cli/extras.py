"""Packages that only some commands need, and the line that says which extra brings them."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from inspector.errors import MissingExtra


def need_exporters() -> Any:
    """The `exporters` package. Raises MissingExtra without torch."""
    try:
        import_module("torch")
    except ImportError:
        raise MissingExtra(
            "this command needs torch, which is not installed", 'pip install "inspector[torch]"'
        ) from None
    # A factory given as package.module:factory is looked for where the user stands, as `python -m` does.
    here = os.getcwd()  # noqa: PTH109  sys.path holds texts
    if here not in sys.path:
        sys.path.append(here)
    return import_module("exporters")
