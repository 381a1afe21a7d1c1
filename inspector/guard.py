"""No output lands on an input, and no two outputs on one file: compared as files, through links and hard links."""

from __future__ import annotations

import os
import re
import stat
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from inspector.errors import OutputError, UsageError

FileOrDescriptor = str | os.PathLike[str] | int
"""A path, or the number of an open file, such as 0 for stdin."""

STREAMS = {0: "what stdin reads", 1: "where stdout goes", 2: "where stderr goes"}
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def check_outputs(
    outputs: Mapping[str, FileOrDescriptor | None], inputs: Mapping[str, Iterable[FileOrDescriptor]]
) -> None:
    """Raise UsageError where an output is an input, or two outputs are one file; before anything is computed.

    Args:
        outputs: What an output is called, such as ``--junit``, and its path; None where none was asked for.
        inputs: What inputs are called, such as ``the model itself``, and their paths. Of a folder its pictures count.

    Raises:
        UsageError: The first such pair.

    Example:
        >>> check_outputs({"-o": "a.onnx"}, {"the model itself": ["./a.onnx"]})
        Traceback (most recent call last):
        ...
        inspector.errors.UsageError: a.onnx is the model itself; give another file to -o
    """
    given = {name: path for name, path in outputs.items() if path is not None}
    names = list(given)
    for number, name in enumerate(names):
        for other in names[:number]:
            if _same(given[name], given[other]):
                raise UsageError(f"{other} and {name} are both to be {given[name]}", "give two names")
    for name, path in given.items():
        for role, files in inputs.items():
            for file in files:
                if (what := _describe(path, role, file)) is not None:
                    raise UsageError(f"{path} is {what}", f"give another file to {name}")


def find_stream_inputs(inputs: Mapping[str, Iterable[FileOrDescriptor]]) -> dict[int, str]:
    """The streams that are written to (1 for stdout, 2 for stderr) and end in a file that is read, with its role.

    Args:
        inputs: As :func:`check_outputs` takes them.
    """
    found: dict[int, str] = {}
    for role, files in inputs.items():
        for file in files:
            for stream in (1, 2):
                if not isinstance(file, int) and _is_plain(stream) and _same(stream, file):
                    found.setdefault(stream, f"{file} is {role}")
    return found


def _describe(output: FileOrDescriptor, role: str, file: FileOrDescriptor) -> str | None:
    """What an output is, where it is this input; None where it is not."""
    if isinstance(file, int):
        return STREAMS[file] if _is_plain(file) and _same(output, file) else None
    if os.path.isdir(file):  # noqa: PTH112  a Path of "" would be the current folder
        held = _held_picture(file, output)
        return f"{role}, {held}" if held is not None else None
    if not _same(output, file):
        return None
    return role if str(output) == str(file) or _key(output) == _key(file) else f"{role}, {file}"


def _held_picture(folder: str | os.PathLike[str], output: FileOrDescriptor) -> Path | None:
    """The picture below `folder` that `output` is."""
    try:
        wanted = _identity(output)
    except (OSError, ValueError):
        return None
    with suppress(OSError):
        for picture in walk_pictures(folder):
            with suppress(OSError):
                if _identity(picture) == wanted:
                    return picture
    return None


def walk_pictures(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Every file below `folder` with a picture's suffix; hidden files and folders are left out."""
    for here, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(".")]
        yield from (Path(here) / f for f in files if not f.startswith(".") and Path(f).suffix.lower() in SUFFIXES)


def _same(one: FileOrDescriptor, other: FileOrDescriptor) -> bool:
    try:
        return _identity(one) == _identity(other)
    except OSError:  # one of them is still to be made
        return not isinstance(one, int) and not isinstance(other, int) and _key(one) == _key(other)
    except ValueError:  # a NUL in the path
        return False


def _identity(file: FileOrDescriptor) -> tuple[int, int]:
    status = os.stat(file)  # noqa: PTH116
    return status.st_dev, status.st_ino


def _key(path: FileOrDescriptor) -> str:
    assert not isinstance(path, int)
    real = os.path.normcase(os.path.realpath(path))
    return unicodedata.normalize("NFC", real).casefold() if sys.platform == "darwin" else real


def _is_plain(number: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(number).st_mode)
    except OSError:
        return False


class _Guard:
    """What one command reads and is going to write."""

    def __init__(
        self, outputs: Mapping[str, FileOrDescriptor | None], inputs: Mapping[str, Iterable[FileOrDescriptor]]
    ) -> None:
        self.outputs = dict(outputs)
        self.inputs = {role: list(files) for role, files in inputs.items()}
        self.written: set[str] = set()
        self._known: dict[tuple[int, int], str] | None = None

    def add(self, role: str, files: Iterable[FileOrDescriptor]) -> None:
        more = list(files)
        check_outputs(self.outputs, {role: more})
        self.inputs.setdefault(role, []).extend(more)
        self._known = None

    def check(self, shown: Path, target: str | os.PathLike[str]) -> None:
        """Raise OutputError where `target`, which is about to be written, is an input."""
        if (role := self.find(target)) is not None:
            raise OutputError(f"{shown} is {role}", "give another folder or file to write to")
        self.written.add(os.fspath(target))

    def find(self, path: str | os.PathLike[str]) -> str | None:
        """What a file is called that is an input; None for any other, and for what this command wrote itself."""
        if os.fspath(path) in self.written:
            return None
        try:
            identity = _identity(path)
        except (OSError, ValueError):  # nothing is there
            return None
        if self._known is None:
            self._known = self._identities()
        return self._known.get(identity)

    def _identities(self) -> dict[tuple[int, int], str]:
        known: dict[tuple[int, int], str] = {}
        for role, files in self.inputs.items():
            for file in files:
                if isinstance(file, int):
                    continue
                held = walk_pictures(file) if os.path.isdir(file) else [file]  # noqa: PTH112
                for path in held:
                    with suppress(OSError, ValueError):
                        if os.fspath(path) not in self.written:
                            known.setdefault(_identity(path), role)
        return known


_active: list[_Guard] = []
"""The guard of the command that runs; for the whole process, since commands write from several threads."""


@contextmanager
def guard_inputs(
    outputs: Mapping[str, FileOrDescriptor | None], inputs: Mapping[str, Iterable[FileOrDescriptor]]
) -> Iterator[None]:
    """Check as :func:`check_outputs` does; during the block nothing is written onto an input under any other name."""
    check_outputs(outputs, inputs)
    guard = _Guard(outputs, inputs)
    _active.append(guard)
    try:
        yield
    finally:
        _active.remove(guard)


def add_inputs(role: str, files: Iterable[FileOrDescriptor]) -> None:
    """Files that no argument named, and that a command turned out to read.

    Raises:
        UsageError: One is an output.
    """
    found = list(files)
    for guard in _active:
        guard.add(role, found)


def check_folder(folder: str | os.PathLike[str], names: re.Pattern[str], inputs: Iterable[object] = ()) -> None:
    """Raise UsageError where an input lies in `folder` under a name that is going to be written there.

    Args:
        folder: The folder; it may not be there yet.
        names: Matches the names that are written.
        inputs: What the call reads; what is no path is left out. Of a command, all that it reads counts besides.
    """
    paths = [file for file in inputs if isinstance(file, str | os.PathLike)]
    guards = [*_active, _Guard({}, {"an input": paths})]
    try:
        held = [path for path in Path(folder).iterdir() if names.fullmatch(path.name)]
    except OSError:
        return
    for path in held:
        for guard in guards:
            if (role := guard.find(path)) is not None:
                raise UsageError(f"{path} is {role}", "give another folder to write to")


def list_inputs() -> Iterator[Path]:
    """The files that the command that runs reads, as far as it was told; of folders their pictures."""
    for guard in _active:
        for files in guard.inputs.values():
            for file in files:
                if not isinstance(file, int):
                    yield from walk_pictures(file) if os.path.isdir(file) else [Path(file)]  # noqa: PTH112


def check_writing(shown: Path, target: str | os.PathLike[str]) -> None:
    """Raise OutputError where `target` is an input of the command that runs.

    Args:
        shown: As the caller wrote it.
        target: The file to be written.
    """
    for guard in _active:
        guard.check(shown, target)


def is_pipe(path: str | os.PathLike[str]) -> bool:
    """Whether a named pipe lies there: opening one waits for somebody to write to it."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)  # noqa: PTH116  a Path of "" would be the current folder
    except (OSError, ValueError):
        return False
