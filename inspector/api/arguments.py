"""What the functions of the public face take, and the errors for what they cannot take."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from inspector.errors import UsageError, wrong_type

if TYPE_CHECKING:
    from inspector.model import Model as AnyModel

ModelSource: TypeAlias = "str | os.PathLike[str] | AnyModel"
"""What is taken for a model: the path of an .onnx file, or a model that is open."""

Warn = Callable[[str], None]
"""Called with a line where something is noteworthy but not wrong."""

Progress = Callable[[int, int], None]
"""Called with how much is done, and how much there is."""


def check_text(name: str, value: object) -> None:
    """Raise UsageError for an argument that is not a text."""
    if not isinstance(value, str):
        raise wrong_type(name, value, "give a text")


def check_texts(name: str, value: object, also: type = str) -> None:
    """Raise UsageError for an argument that is neither None, a text, nor several texts.

    Args:
        name: What the argument is called.
        value: What was given.
        also: Another type, too.
    """
    kinds = (str, also)
    if value is None or isinstance(value, kinds):
        return
    if not isinstance(value, Iterable) or not all(isinstance(one, kinds) for one in value):
        raise wrong_type(name, value, "give a name, or a list of names")


def check_whole(name: str, value: object, low: int, high: int | None = None) -> None:
    """Raise UsageError for an argument that is not a whole number from `low` to `high`."""
    wanted = f"give a whole number {f'from {low} to {high}' if high is not None else f'of {low} or more'}"
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(name, value, wanted)
    if value < low or (high is not None and value > high):
        raise UsageError(f"{name} {value} is out of range", wanted)
