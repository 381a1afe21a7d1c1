"""Entries of a file's metadata that many write under a few names: labels, mean and std, size, order of colors."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Mapping
from typing import Any

from inspector.model.stated import STATED, Stated, read_stated

_LONGEST_TEXT = 1 << 20
_LONGEST_LITERAL = 1 << 14
"""Characters of a text in the form of Python that are read, names of classes aside: its parser is slow."""
_LONGEST_NAMES = 1 << 16
"""The same for names of classes."""
_MOST_CLASSES = 100_000
_MOST_DOCUMENTS = 8

_LABELS = ("names", "class_names", "id2label", "labels", "classes", "class_labels", "label_names")
_NESTED = ("preprocessor_config", "pretrained_cfg", "config", "preprocessing")
"""Entries that hold a document of such entries."""


def read_literal(text: str, longest: int = _LONGEST_LITERAL) -> Any:
    """A value in the form of JSON or Python; None where the text is neither.

    Args:
        text: The text.
        longest: Characters that it may have in the form of Python.
    """
    if len(text) > _LONGEST_TEXT:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if len(text) > longest:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of "\\d" in a text
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def read_names(text: str) -> tuple[str, ...] | None:
    """Class names of a text; see :func:`read_name_table`."""
    return read_name_table(read_literal(text, _LONGEST_TEXT))


def read_name_table(value: Any) -> tuple[str, ...] | None:
    """Class names of ``{0: 'cat', 1: 'dog'}``, ``{"0": "cat"}`` or ``['cat', 'dog']``; None for anything else.

    Numbers without a name stay numbers: ``class 2``.
    """
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value:
        return None
    table: dict[int, str] = {}
    for key, name in value.items():
        number = int(key) if isinstance(key, str) and re.fullmatch(r"[0-9]{1,6}", key) else key
        if type(number) is not int or not 0 <= number < _MOST_CLASSES or not isinstance(name, str):
            return None
        table[number] = name
    return tuple(table.get(k) or f"class {k}" for k in range(max(table) + 1))


def read_entries(
    properties: Mapping[str, str], size: tuple[int, int] | None = None
) -> tuple[tuple[str, ...] | None, Stated | None]:
    """The labels under any of the usual names, and what is said of the picture; None for what is not there.

    Args:
        properties: The entries of the file.
        size: (H, W) that the graph fixes; None where it does not.
    """
    documents = _list_documents(properties)
    found = [stated for values in documents if (stated := read_stated(values, size)) is not None]
    # A document whose values are understood comes before one whose values are not.
    found.sort(key=lambda stated: stated.preprocess is None)
    return _find_labels(documents), found[0] if found else None


def _find_labels(documents: list[dict[str, Any]]) -> tuple[str, ...] | None:
    """A list, a table by number, or lines."""
    for values in documents:
        for key in _LABELS:
            text = values.get(key)
            found = read_name_table(text)
            if found is None and isinstance(text, str) and text.count("\n") > 0:
                found = tuple(line.strip() for line in text.strip().split("\n"))
            if found and all(found):
                return found
    return None


def _list_documents(properties: Mapping[str, str]) -> list[dict[str, Any]]:
    """The entries of known names as values, and the documents in them; the entries themselves come first."""
    own: dict[str, Any] = {}
    for key in (*_LABELS, *_NESTED, *STATED):
        if key in properties:
            text = properties[key]
            value = read_literal(text, _LONGEST_NAMES if key in _LABELS else _LONGEST_LITERAL)
            own[key] = text if value is None else value
    found = [own]
    for values in found:  # which grows
        more = [document for key in _NESTED if isinstance(document := values.get(key), dict)]
        found += more[: _MOST_DOCUMENTS - len(found)]
    return found
