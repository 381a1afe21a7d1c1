"""The command line: one module per command, each thin. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

NAMES = (
    "layers", "predict", "activations", "cam", "filters", "dream", "export", "finetune", "quantize", "slim", "attach",
    "annotate", "audit", "compare", "report", "live", "scan", "doctor",
)  # fmt: skip


def list_commands() -> Iterator[tuple[str, Callable[..., Any]]]:
    """(name, function) of each command, in the order of the documentation."""
    for name in NAMES:
        yield name, getattr(import_module(f"inspector.cli.{name}"), name)
