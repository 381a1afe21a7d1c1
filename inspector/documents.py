"""JSON documents as dataclasses, and what is wrong with those that do not fit, all at once.

A document that fits is built here without any other package, since every command opens a model and pydantic takes a
tenth of a second to import. Only a document that does not fit is given to pydantic, which lists every place. Both go by
the annotations of the dataclass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from inspector.records import record

OPEN: dict[str, Any] = {"use_attribute_docstrings": True}
"""For ``__pydantic_config__`` of a dataclass: the docstrings of the attributes are the descriptions of the schema."""
CLOSED: dict[str, Any] = {**OPEN, "extra": "forbid"}
"""The same for a document that may have no other keys."""


class DoesNotFitError(Exception):
    """A document does not fit its dataclass; :func:`find_misfits` says where."""


@record
class Misfit:
    """One place of a document that does not fit.

    Attributes:
        place: Keys and positions that lead to it, from the outside in.
        given: What stands there; the object around it where a key is missing.
    """

    place: tuple[str | int, ...]
    given: Any


def build_value(kind: Any, document: Any) -> Any:
    """What a JSON value is as the type `kind`: lists as tuples, objects as dataclasses. Unknown keys are ignored.

    Args:
        kind: str, int, float, bool, None, Any, a Literal, a tuple, a Mapping with str keys, a dataclass of these, or a
            union of these.
        document: What ``json.loads`` gave.

    Raises:
        DoesNotFitError: The document has another type somewhere, or lacks a key.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return document
    if kind is float and type(document) is int:
        return document
    if kind in (str, int, float, bool, type(None)) and type(document) is kind:
        return document
    if origin is Literal and type(document) is str and document in parts:
        return document
    if origin in (Union, UnionType):
        for part in parts:
            try:
                return build_value(part, document)
            except DoesNotFitError:
                continue
    if origin is tuple and isinstance(document, list | tuple):
        kinds = [parts[0]] * len(document) if parts[-1] is ... else parts
        if len(kinds) == len(document):
            return tuple(build_value(part, value) for part, value in zip(kinds, document, strict=True))
    if isinstance(document, Mapping):
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {key: build_value(parts[1], value) for key, value in document.items()}
        if isinstance(kind, type) and is_dataclass(kind):
            hints = _hints(kind)
            try:
                return kind(**{key: build_value(hints[key], value) for key, value in document.items() if key in hints})
            except TypeError:  # a key without a default is missing
                raise DoesNotFitError from None
    raise DoesNotFitError


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return {name: hint for name, hint in get_type_hints(kind).items() if name in kind.__dataclass_fields__}


def find_misfits(kind: Any, document: Any) -> list[Misfit]:
    """Every place where a JSON value does not fit the type `kind`, by pydantic, in the order of the dataclass."""
    from pydantic import TypeAdapter, ValidationError

    try:
        # Half a surrogate pair is a string for Python, and no JSON.
        text = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
        TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        return [Misfit(found["loc"], found["input"]) for found in error.errors(include_url=False)]
    except (RecursionError, ValueError):
        return [Misfit((), document)]
    return []
