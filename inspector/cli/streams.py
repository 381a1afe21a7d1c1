"""The three streams and the signals of the process: whatever its caller left open, full or about to end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO, cast

_ended_by: list[int] = []
"""The signal that asked for the end, if one did."""


class StdoutLost(OSError):
    """Stdout takes nothing more: a full disk, a stream that is closed."""


class ReaderLeft(BrokenPipeError):
    """Nobody reads stdout any more, which is no failure; without an errno, as typer ends with 1 where it finds one."""


class _Stdout:
    """Stdout, whose errors are known as such. All else is that of the stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with _known_errors():
            return self._stream.write(text)

    def flush(self) -> None:
        with _known_errors():
            self._stream.flush()


@contextmanager
def _known_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderLeft(str(error)) from None
    except OSError as error:
        raise StdoutLost(error.errno, error.strerror) from None


def prepare_streams() -> None:
    """Give Python the streams that its caller closed, and let no name end a command that a stream has no bytes for."""
    # The lowest free number is taken, which is the closed one: no model or picture gets the number of stdout.
    # Reading and writing are swapped for stdin and stdout, so that using them fails as it does on a closed one.
    for number, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)
    # Opened by number, and kept: closing them is for the end of the process.
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        strict = stream.errors == "strict" or not (stream.encoding or "").lower().startswith("utf")
        if strict and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout = cast(TextIO, _Stdout(sys.stdout))


def handle_signals() -> None:
    """Let SIGTERM and a lost terminal end a command as Ctrl-C does, so that everything is put in order."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # Ignored signals stay ignored: nohup.
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    _ended_by.append(number)
    signal.signal(number, signal.SIG_DFL)  # a second one ends at once
    raise KeyboardInterrupt


def find_signal_code(code: int) -> int:
    """130 is Ctrl-C; the exit code of the signal that came instead of it, as a shell tells it."""
    return 128 + _ended_by[0] if code == 130 and _ended_by else code


def write_error_line(line: str) -> None:
    """A line on stderr. Where it cannot be written nobody can be told, and that is no reason to end."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Send what `stream` still holds nowhere: Python would complain once more about it when it shuts down."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
