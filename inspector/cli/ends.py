"""How a command ends when it does not end well: every exception as one line, one document and an exit code."""

from __future__ import annotations

import os
from typing import Any

from inspector.errors import InspectorError, one_line
from inspector.text import to_json


class Stopped(Exception):
    """Ends a command whose outcome has been reported, with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Interrupted(InspectorError):
    """Ctrl-C, as a document tells it."""

    kind = "interrupted"


def describe_error(error: InspectorError) -> dict[str, Any]:
    """`error` of a document."""
    return {"error": {"kind": error.kind, "message": error.message, "hint": error.hint}}


def as_error(error: BaseException) -> InspectorError:
    """Any exception as the error that people and documents are told."""
    if isinstance(error, InspectorError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("interrupted")
    if isinstance(error, MemoryError):
        return InspectorError("there is not enough memory", "use a smaller picture or fewer layers")
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return InspectorError(f"{where}{error.strerror or error}")
    text = f"internal error, {type(error).__name__}: {one_line(str(error), 200)}"
    return InspectorError(text, "this is a bug; INSPECTOR_DEBUG=1 shows where")


def wants_traceback(error: BaseException) -> bool:
    """Whether this is a bug that somebody is looking for."""
    expected = isinstance(error, InspectorError | MemoryError | OSError | KeyboardInterrupt)
    return not expected and bool(os.environ.get("INSPECTOR_DEBUG"))


def document_error(error: InspectorError) -> str:
    """The document of a command that failed."""
    return to_json(describe_error(error))
