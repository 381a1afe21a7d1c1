"""The errors a caller can expect, each with what was given, what there is, and what to do."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Sequence
from numbers import Integral


class InspectorError(Exception):
    """Base of every error that bad input can cause.

    ``str(error)`` is one line. ``kind`` is a stable word for scripts; ``hint`` says what to do next, or is empty.
    """

    kind = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = one_line(message)
        self.hint = one_line(hint)
        super().__init__(f"{self.message}; {self.hint}" if self.hint else self.message)


class ModelError(InspectorError):
    """The file is not an ONNX model that can be read, or asks for more than is safe."""

    kind = "model"


class NoPictureError(ModelError):
    """The model is a network that takes something else than pictures."""


class ImageError(InspectorError):
    """The picture cannot be opened, or is too large."""

    kind = "image"


class LayerNotFound(InspectorError):
    """No layer, or more than one, goes by the name given."""

    kind = "layer"


class ClassNotFound(InspectorError):
    """No class, or more than one, goes by the label or index given."""

    kind = "class"


class UsageError(InspectorError):
    """Options that do not fit together, or a value out of range."""

    kind = "usage"


class MetadataError(InspectorError):
    """The metadata document or a preprocess description is malformed."""

    kind = "metadata"


class MissingExtra(InspectorError):
    """A package is needed that is not installed."""

    kind = "extra"


class OutputError(InspectorError):
    """A result cannot be written where it was asked for."""

    kind = "output"


class NotComputable(InspectorError):
    """The model is fine, but what was asked for does not exist for it."""

    kind = "not-computable"


def one_line(text: str, limit: int = 600) -> str:
    """The text without line breaks or control characters, cut to `limit` characters."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def say_no_path(path: object, error: ValueError) -> str:
    """What is wrong with a text that the system takes for no path; the words for a null byte are every Python's."""
    return f"{str(path)!r} is not a path: {'embedded null byte' if chr(0) in str(path) else error}"


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The `count` names closest to `name`, best first; always as many as there are names to give."""
    names = list(dict.fromkeys(known))
    lowered = name.lower()

    def closeness(candidate: str) -> float:
        """Similarity in [0, 1]; a shared ending counts, since layers are asked for by suffix."""
        other = candidate.lower()
        ratio = difflib.SequenceMatcher(None, lowered, other).ratio()
        ending = difflib.SequenceMatcher(None, lowered, other[-len(lowered) :] if lowered else "").ratio()
        return max(ratio, ending)

    return sorted(names, key=closeness, reverse=True)[:count]


def listing(names: Sequence[str], limit: int = 3) -> str:
    """`names` as "a, b, c and 4 more"."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def wrong_type(name: str, value: object, hint: str) -> UsageError:
    """The error for an argument of a type that cannot be meant: what it is called, what was given, what to give."""
    shown = _Shown().repr(value)
    return UsageError(f"{name} cannot be {one_line(shown, 80)} ({type(value).__name__})", hint)


def check_whole(name: str, value: object, low: int, high: int | None = None) -> None:
    """Raise UsageError for an argument that is not a whole number from `low` to `high`."""
    wanted = f"give a whole number {f'from {low} to {high}' if high is not None else f'of {low} or more'}"
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise wrong_type(name, value, wanted)
    if int(value) < low or (high is not None and int(value) > high):
        raise UsageError(f"{name} {value} is out of range", wanted)


class _Shown(reprlib.Repr):
    """Values as Python shows them, as far as one line needs it: a file that was read is millions of letters."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = self.maxdeque = 40
        self.maxstring = self.maxother = 400

    def repr_bytes(self, value: bytes, level: int) -> str:
        """The beginning of it."""
        return repr(bytes(value[: self.maxstring]))

    repr_bytearray = repr_bytes
