"""The command line: one module per command, each thin. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

NAMES = (
    "layers", "predict", "activations", "cam", "filters", "dream", "export", "finetune", "quantize", "slim", "attach",
    "annotate", "audit", "compare", "report", "live", "scan", "doctor",
)  # fmt: skip
WORDS = {"scan": {"merge": "join_parts", "compare": "tell_moves"}}
"""Words that in the place of a command's first argument make another command of it, and its function in the module."""


def list_commands() -> Iterator[tuple[str, Callable[..., Any]]]:
    """(name, function) of each command, in the order of the documentation."""
    for name in NAMES:
        yield name, getattr(import_module(f"inspector.cli.{name}"), name)


def list_words(name: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """(name, function) of each command that a word after `name` makes, such as ``scan merge``."""
    for word, function in WORDS.get(name, {}).items():
        yield f"{name} {word}", getattr(import_module(f"inspector.cli.{name}"), function)
