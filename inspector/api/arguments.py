"""What the functions of the public face take, and the errors for what they cannot take."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, wraps
from inspect import Parameter, Signature, signature
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

from inspector.errors import UsageError, say_no_path, wrong_type
from inspector.runtime.providers import check_threads

if TYPE_CHECKING:
    from inspector.model import Model as AnyModel

ModelSource: TypeAlias = "str | os.PathLike[str] | AnyModel"
"""What is taken for a model: the path of an .onnx file, or a model that is open."""

ModelFile: TypeAlias = "str | os.PathLike[str]"
"""The path of an .onnx file."""

Warn = Callable[[str], None]
"""Called with a line where something is noteworthy but not wrong."""

Progress = Callable[[int, int], None]
"""Called with how much is done, and how much there is."""


P = ParamSpec("P")
R = TypeVar("R")

_WORDS = {
    "str": "a text", "int": "a whole number", "float": "a number", "bool": "True or False", "None": "None",
    "File": "a path", "Warn": "a function", "Progress": "a function",
}  # fmt: skip

_PATHS = ("File", "ModelFile", "os.PathLike[str]")

_ALIASES = {"Paths": "File | Sequence[File]"}

_OWN = ("", "Any", "ImageSource", "LayerNames", "ModelSource", "NDArray", "Pictures")
"""Types that the functions look at themselves."""


_THREADS = ("threads", "workers")
"""What is a number of threads or processes wherever it is taken."""


class _Unfit(Exception):
    """A value is none of what a parameter takes."""


def check_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Hold every argument of a public function against the type that is written beside it.

    Numbers of numpy become Python's, and what can be walked through only once becomes a list. A type that the function
    looks at itself, such as a picture's, is left to it.

    Raises:
        UsageError: From the function, for an argument of another type; it says which, what was given, and what to give.
        TypeError: From the function, for an argument too many or too few, as Python raises it.
    """
    named = signature(function)
    first = next(iter(named.parameters), "")
    known = _find_settings(function, named)

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = named.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{function.__qualname__}() {error}") from None
        for name, value in given.arguments.items():
            kind = named.parameters[name]
            if kind.kind is Parameter.VAR_KEYWORD:
                given.arguments[name] = {k: _check(k, v, known.get(k, "")) for k, v in value.items()}
            elif not (name == first == "self"):
                given.arguments[name] = _check(name, value, str(kind.annotation))
        return function(*given.args, **given.kwargs)

    return checked


def _find_settings(function: Callable[..., object], named: Signature) -> Mapping[str, str]:
    """The types of the settings that a function takes as ``**settings: Unpack[SomeDict]``; without them, none.

    Raises:
        TypeError: The module of the function has no such TypedDict, so that no setting would be looked at.
    """
    for parameter in named.parameters.values():
        outer, _, name = str(parameter.annotation).removesuffix("]").partition("[")
        if parameter.kind is Parameter.VAR_KEYWORD and outer == "Unpack":
            found = getattr(getattr(function, "__globals__", {}).get(name), "__annotations__", None)
            if not found:
                raise TypeError(f"{function.__qualname__} takes the settings of {name}, which its module does not have")
            return {key: getattr(kind, "__forward_arg__", str(kind)) for key, kind in found.items()}
    return {}


def _check(name: str, value: Any, annotation: str) -> Any:
    kinds = _split(_ALIASES.get(annotation, annotation))
    for kind in kinds:
        try:
            found = _convert(value, kind, kinds)
        except _Unfit:
            continue
        if found is not None and name in _THREADS:
            check_threads(name, found)
        return found
    several = [kind for kind in kinds if kind != "None" and not (kind == "str" and set(kinds) & set(_PATHS))]
    words = list(dict.fromkeys(_say(kind) for kind in several))
    raise wrong_type("a model" if annotation == "ModelFile" else name, value, f"give {' or '.join(words)}")


@lru_cache(maxsize=512)
def _split(annotation: str, by: str = "|") -> tuple[str, ...]:
    """The parts of a type that stand beside each other, as `str | None`: what is in brackets stays together."""
    parts, depth = [""], 0
    for letter in annotation:
        depth += (letter == "[") - (letter == "]")
        if letter == by and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    # A path is looked at before a text, which may be one.
    return (
        tuple(sorted((part.strip() for part in parts), key=lambda part: part not in _PATHS))
        if by == "|"
        else tuple(part.strip() for part in parts)
    )


def _convert(value: Any, kind: str, kinds: tuple[str, ...]) -> Any:
    """The value as the function takes it. Raises _Unfit where it is not of that kind."""
    outer, _, inner = kind.removesuffix("]").partition("[")
    if kind in ("None", "bool"):
        return _convert_word(value, kind)
    if kind in _PATHS or (kind == "str" and not set(kinds).isdisjoint(_PATHS)):
        return _convert_path(value)
    if kind == "str":
        return _take(value, isinstance(value, str))
    if kind == "int":
        return operator.index(_take(value, isinstance(value, Integral) and not isinstance(value, bool)))
    if kind == "float":
        _take(value, isinstance(value, Real) and not isinstance(value, bool) and value == value)
        return value if isinstance(value, int | float) else float(value)
    if outer in ("Warn", "Progress", "Callable"):
        return _take(value, callable(value))
    if outer == "Mapping":
        return _take(value, isinstance(value, Mapping))
    if outer in ("Sequence", "Iterable"):
        return _convert_several(value, inner)
    if outer == "tuple":
        wanted = _split(inner, ",")
        _take(
            value,
            isinstance(value, Iterable) and hasattr(value, "__len__") and not isinstance(value, str | bytes | Mapping),
        )
        _take(value, len(value) == len(wanted))
        return tuple(_convert(one, kind, (kind,)) for one, kind in zip(value, wanted, strict=True))
    if outer in _OWN:
        return value
    return _take(value, any(base.__name__ == outer.rpartition(".")[2] for base in type(value).__mro__))


def _take(value: Any, fits: bool) -> Any:
    if not fits:
        raise _Unfit
    return value


def _convert_word(value: Any, kind: str) -> Any:
    if kind == "None":
        return _take(value, value is None)
    # A truth value of numpy is no bool, and is equal to one.
    return bool(_take(value, isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")))


def _convert_path(value: Any) -> Any:
    _take(value, isinstance(value, str | os.PathLike))
    text = os.fspath(value)
    if isinstance(text, str) and "\0" in text:
        raise UsageError(say_no_path(text, ValueError()), "give the name of a file or a folder")
    return _take(value, isinstance(text, str) and text != "")


def _convert_several(value: Any, inner: str) -> Any:
    _take(value, isinstance(value, Iterable) and not isinstance(value, str | bytes | bytearray | Mapping))
    kinds = _split(inner)
    found = []
    for one in value:
        for kind in kinds:
            try:
                found.append(_convert(one, kind, kinds))
                break
            except _Unfit:
                continue
        else:
            raise _Unfit
    return tuple(found) if isinstance(value, tuple) else found


def _say(kind: str) -> str:
    """A kind in words."""
    outer, _, inner = kind.removesuffix("]").partition("[")
    if kind in _PATHS:
        return "the path of an .onnx file" if kind == "ModelFile" else "a path"
    if outer in ("Sequence", "Iterable"):
        return f"a list of {' or '.join(_say(one).partition(' ')[2] + 's' for one in _split(inner))}"
    if outer == "tuple":
        return f"{len(_split(inner, ','))} of {_say(_split(inner, ',')[0]).partition(' ')[2]}"
    if outer == "Mapping":
        return "a dictionary"
    return _WORDS.get(outer, "a function" if outer == "Callable" else f"a {outer.rpartition('.')[2]}")
