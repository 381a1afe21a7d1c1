"""What a command about pictures gives out: an entry for each, as it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from inspector.api.pictures import Done, Skipped, make_none_error
from inspector.cli.ends import Stopped, as_error, describe_error, wants_traceback
from inspector.cli.streams import write_error_line
from inspector.text import to_json


class Remarks(Protocol):
    """Where remarks go: what is asked of a console here."""

    json: bool

    def note(self, line: str) -> None:
        """A remark."""

    def warn(self, line: str) -> None:
        """What went wrong."""


@dataclass
class EntryStream:
    """Entries of a document, or lines for people, given out as they come."""

    console: Remarks
    make_head: Callable[[], Mapping[str, Any]]
    show: Callable[[Mapping[str, Any]], str]
    done: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    told: int = 0
    tail: dict[str, Any] = field(default_factory=dict)
    """Keys of the document that stand behind the entries."""

    def take(self, step: Done[Mapping[str, Any]] | Skipped) -> None:
        """The next entry, or a picture that is skipped."""
        if isinstance(step, Skipped):
            self.skipped.append(step)
            # A lone bad picture is told as the error that ends the command, and not twice.
            if self.done or len(self.skipped) > 1:
                self._tell()
            return
        if self.console.json:
            # The head waits for the first entry: should none work, the error is the document.
            print(f'{to_json(self.make_head())[:-1]}, "images": [' if not self.done else ",", end="")
            print(to_json(step.result), end="")
        else:
            print(self.show(step.result))
        self.done += 1
        self._tell()

    def close(self) -> None:
        """The end of the document. Raises the error of the first picture where none worked."""
        if not self.done:
            raise make_none_error(self.skipped)
        if self.console.json:
            print(f"], {to_json(self._skipped())[1:]}")
        elif self.skipped:
            self.console.note(f"{self.done} pictures done, {len(self.skipped)} skipped")

    def fail(self, error: BaseException) -> NoReturn:
        """The end of the document with an error that nothing comes after."""
        self._tell()
        if not (self.console.json and self.done):
            raise error
        print(f"], {to_json({**self._skipped(), **describe_error(as_error(error))})[1:]}", flush=True)
        if isinstance(error, KeyboardInterrupt):
            write_error_line("inspector: interrupted")
            raise Stopped(130) from error
        if wants_traceback(error):
            raise error
        raise Stopped(2) from error

    def _skipped(self) -> dict[str, Any]:
        return {**self.tail, "skipped": [{"path": one.path, "error": one.error.message} for one in self.skipped]}

    def _tell(self) -> None:
        for one in self.skipped[self.told :]:
            self.console.warn(f"skipped: {one.error}")
        self.told = len(self.skipped)
