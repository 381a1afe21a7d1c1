"""Frozen data classes that are made quickly: what every command imports is made of them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from functools import cache
from operator import attrgetter
from reprlib import recursive_repr
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
def record(cls: type[T], /) -> type[T]: ...


@overload
def record(*, eq: bool = True) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def record(cls: type[T] | None = None, /, *, eq: bool = True) -> type[T] | Callable[[type[T]], type[T]]:
    """Make a class what ``dataclass(frozen=True)`` makes of it, in a third of the time.

    Before Python 3.13 a frozen data class writes and compiles six functions, which takes half a millisecond; a command
    imports eighty such classes before it opens its model. Here only ``__init__`` is compiled, and the other functions
    are the same for all classes. ``dataclasses.replace``, ``fields``, ``asdict`` and ``field`` work as ever.

    Args:
        cls: The class.
        eq: False for objects that are equal only to themselves.

    Returns:
        The same class, or a decorator where no class is given.

    Example:
        >>> @record
        ... class Point:
        ...     x: int
        ...     y: int = 0
        >>> Point(1), Point(1) == Point(1, 0)
        (Point(x=1, y=0), True)
    """
    if cls is None:
        return lambda given: _make(given, eq)
    return _make(cls, eq)


def _make(cls: type[T], eq: bool) -> type[T]:
    parents = [base for base in cls.__mro__[1:] if dataclasses.is_dataclass(base)]
    if sys.version_info >= (3, 13) or parents:
        # All functions are compiled at once there; and what is inherited follows rules that are not told here again.
        return dataclasses.dataclass(frozen=True, eq=eq)(cls)
    own = set(cls.__dict__)
    made: Any = dataclasses.dataclass(repr=False, eq=False)(cls)
    # A class that inherits from it, of whoever's making, is told that it is frozen.
    made.__dataclass_params__.frozen, made.__dataclass_params__.eq = True, eq
    made.__setattr__, made.__delattr__ = _set_once, _refuse_deletion
    if "__repr__" not in own:
        made.__repr__ = _describe
    if eq:
        if "__eq__" not in own:
            made.__eq__ = _compare
        if "__hash__" not in own:
            made.__hash__ = _hash
    return cls


def _set_once(self: Any, name: str, value: object) -> None:
    """Each field once, by ``__init__``."""
    if name in self.__dict__ or name not in self.__dataclass_fields__:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
    self.__dict__[name] = value


def _refuse_deletion(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


@recursive_repr()
def _describe(self: Any) -> str:
    shown = ", ".join(f"{x.name}={getattr(self, x.name)!r}" for x in dataclasses.fields(self) if x.repr)
    return f"{type(self).__qualname__}({shown})"


def _compare(self: Any, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    kind: Any = type(self)
    read = _find_reader(kind, False)
    return read(self) == read(other)


def _hash(self: Any) -> int:
    kind: Any = type(self)
    return hash(_find_reader(kind, True)(self))


@cache
def _find_reader(cls: Any, hashed: bool) -> Callable[[Any], object]:
    """What gives the values of an object that its hash is made of, or that it is compared by."""
    fields = dataclasses.fields(cls)
    names = [x.name for x in fields if (x.hash if hashed and x.hash is not None else x.compare)]
    return attrgetter(*names) if names else lambda _: ()
