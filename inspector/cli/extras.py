"""Packages that only some commands need, and the line that says which extra brings them."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from inspector.errors import MissingExtra


def ready_torch(threads: int | None = None) -> None:
    """torch's threads: as many as asked for, and none that spins while another process has the core.

    Raises MissingExtra where torch is not installed.
    """
    if find_spec("torch") is None:
        raise MissingExtra("this command needs torch, which is not installed", 'pip install "inspector[torch]"')
    # Read when OpenMP is loaded. Spinning threads made an ascent nine times slower on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def need_exporters() -> Any:
    """The `exporters` package. Raises MissingExtra without torch."""
    ready_torch()
    # A factory given as package.module:factory is looked for where the user stands, as `python -m` does.
    here = os.getcwd()  # noqa: PTH109  sys.path holds texts
    if here not in sys.path:
        sys.path.append(here)
    return import_module("exporters")
