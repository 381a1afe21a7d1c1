"""Values as JSON can hold them, and texts as files can hold them: once, for every document and page."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def finite(value: float) -> float | None:
    """The number, or None where JSON has none for it: NaN and the infinities, which a broken network makes.

    Example:
        >>> finite(1.5), finite(float("nan"))
        (1.5, None)
    """
    return value if math.isfinite(value) else None


def count(number: int, noun: str) -> str:
    """A number and what it counts: ``1 shard``, ``1,200 shards``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def relative(path: str | os.PathLike[str]) -> str:
    """A path relative to the current folder, with forward slashes; as it is where it lies on another drive."""
    try:
        return Path(os.path.relpath(path)).as_posix()
    except ValueError:
        return Path(path).as_posix()


def to_plain(value: Any) -> Any:
    """The same value out of what JSON has: None, bool, int, float, str, list and dict.

    Numbers that are not finite become None, keys become texts, and tuples, numpy's arrays and its numbers become
    lists and Python's numbers. A path is written as `relative` writes it.

    Example:
        >>> to_plain({"mean": float("inf"), "shape": (1, 3)})
        {'mean': None, 'shape': [1, 3]}
    """
    if hasattr(value, "tolist"):  # an array or a number of numpy, which is not imported for this
        value = value.tolist()
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, Mapping):
        return {str(key): to_plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(one) for one in value]
    return relative(value) if isinstance(value, Path) else value


def to_json(value: Any, indent: int | None = None) -> str:
    """The value as JSON that any parser takes: no NaN, and only ASCII, so that no terminal's encoding can break it.

    Args:
        value: What `to_plain` takes.
        indent: Blanks for each level, for a file that people read; None writes one line.
    """
    return json.dumps(to_plain(value), allow_nan=False, indent=indent)


def to_script(value: Any) -> str:
    """The value as JSON that may stand in an HTML script element: nothing in it ends the element or begins a comment.

    Args:
        value: What `to_plain` takes.
    """
    text = json.dumps(to_plain(value), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def without_surrogates(text: str) -> str:
    """The text with a question mark for each lone surrogate: file names may hold them, UTF-8 has no place for them."""
    return text.encode("utf-8", "replace").decode("utf-8")
