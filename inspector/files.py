"""Files written whole or not at all, folders made on request, and file names made from layer names."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from inspector.errors import OutputError, say_no_path
from inspector.guard import check_writing
from inspector.leftovers import name_part, sweep

if TYPE_CHECKING:
    from numpy.typing import NDArray

_REASONS = {
    errno.EACCES: ("permission denied", "choose a folder you may write to"),
    errno.EPERM: ("permission denied", "choose a folder you may write to"),
    errno.EROFS: ("the file system is read-only", "choose another folder"),
    errno.ENOENT: ("its folder does not exist", "make the folder first"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "choose another path"),
    errno.EISDIR: ("it is a folder", "give the name of a file"),
    errno.ENOSPC: ("the disk is full", "free some space or choose another disk"),
    errno.EDQUOT: ("the disk quota is used up", "free some space or choose another disk"),
    errno.EBADF: ("it is closed", ""),
    errno.EFBIG: ("the file is larger than is allowed here", "choose another disk or a smaller picture"),
    errno.ENAMETOOLONG: ("the name is too long", "give a shorter name"),
}

# Names that Windows keeps for devices, whatever the extension.
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path`; renamed to it when the block ends, removed when the block fails.

    The temporary name keeps the ending of `path`, since some writers choose the format by it or append their own.
    A file that was there stays untouched until the new one is complete, and for good where nobody may write to it.
    Links are followed.

    Raises:
        OutputError: The file cannot be written; an error of the block that is not about this file passes through
            unchanged.
    """
    shown = Path(path)
    if "\0" in str(shown):
        raise OutputError(say_no_path(shown, ValueError()), "give the name of a file")
    # As text: a folder of a hundred sheets would make a thousand paths.
    target = os.path.realpath(shown)
    folder, name = os.path.split(target)
    temporary = Path(folder, f"{name_part()}{os.path.splitext(name)[1][:32]}")  # noqa: PTH122
    try:
        with suppress(FileNotFoundError):
            kind = os.stat(target).st_mode  # noqa: PTH116
            if stat.S_ISDIR(kind):
                raise IsADirectoryError(errno.EISDIR, "is a folder")
            if not stat.S_ISREG(kind):
                # Renaming over /dev/null would replace the device.
                raise OutputError(f"cannot write {shown}: it is not an ordinary file", "give the name of a file")
            check_mode(shown, kind)
    except OSError as error:
        raise _output_error(shown, error) from error
    check_writing(shown, target)
    sweep(folder)
    try:
        # Created here, so that a folder that cannot be written is found before the work; 0o666 leaves the mode
        # to the umask, where tempfile would make a file only its owner can read.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        os.replace(temporary, target)  # noqa: PTH105
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        # A write to an open file fails without a file name.
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            raise _output_error(shown, error) from error
        raise


def check_mode(path: str | os.PathLike[str], mode: int) -> None:
    """Raise OutputError where a file that is to go is one that nobody may write to.

    A rename and a removal ask the folder alone, and root may write anything; a file was made read-only to be kept.

    Args:
        path: The file, as it is shown.
        mode: Its mode, as ``os.stat`` tells it.
    """
    if not stat.S_IMODE(mode) & 0o222:
        raise OutputError(
            f"cannot write {path}: the file that is there is read-only",
            "give another name, or make it writable first (chmod u+w)",
        )


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write `data` to `path`, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    with atomic_path(path) as temporary, open_part(temporary) as stream:
        stream.write(data)
    return Path(path)


def open_part(temporary: Path) -> BinaryIO:
    """The empty file of `atomic_path`, open for writing.

    Not by "wb": a file that was emptied is sent to the disk by ext4 as soon as it is closed, and whoever removes or
    replaces it soon after waits for the disk. For a hundred small pictures that is half a second.
    """
    return temporary.open("r+b")


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write `text` to `path` as UTF-8 with the line ends it has, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    # File names from the shell may hold lone surrogates, which UTF-8 has no bytes for.
    return write_bytes(path, text.encode("utf-8", "replace"))


def write_npy(path: str | os.PathLike[str], array: NDArray[Any]) -> Path:
    """Write `array` to `path` in numpy's .npy format, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    import numpy as np

    with atomic_path(path) as temporary, open_part(temporary) as stream:
        # To a stream without a file number numpy writes as to any; to a file its own way, which hides why it fails.
        np.save(SimpleNamespace(write=stream.write), array, allow_pickle=False)
    return Path(path)


def output_folder(path: str | os.PathLike[str]) -> Path:
    """The folder `path`, made with its parents if it is not there.

    Raises:
        OutputError: It cannot be made or written into.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except ValueError as error:
        raise OutputError(say_no_path(folder, error), "choose another folder") from None
    except FileExistsError as error:
        raise OutputError(f"cannot make the folder {folder}: a file has that name", "choose another name") from error
    except OSError as error:
        reason, hint = explain_os_error(error, folder)
        raise OutputError(f"cannot make the folder {folder}: {reason}", hint) from error
    return folder


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for the time of the block, in the system's place for such. What a killed run left there is removed.

    Raises:
        OutputError: It cannot be made.
    """
    import shutil
    import tempfile

    place = Path(tempfile.gettempdir())
    sweep(place)
    folder = place / name_part()
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        reason, hint = explain_os_error(error, folder)
        raise OutputError(f"cannot make a folder in {place}: {reason}", hint or "set TMPDIR") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


PIPE_WAIT = 5.0
"""Seconds that a named pipe waits for somebody to write to it."""


class Readable(Protocol):
    """A file open for reading bytes: an ``io.BytesIO``, ``open(path, "rb")``, an upload, a member of an archive."""

    def read(self, size: int = ..., /) -> bytes:
        """At most `size` bytes; none at the end."""


def read_pipe(path: str | os.PathLike[str], limit: int) -> bytes:
    """What is written to a named pipe until its end, `limit` bytes at most.

    Raises:
        TimeoutError: Nobody writes to it, where an ordinary open waits for ever, and other OSErrors.
    """
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(number, "rb", buffering=0) as stream:  # noqa: PTH123  a number is no path
        until, first = time.monotonic() + PIPE_WAIT, b""
        # Without a writer a read finds the end at once; with one that has nothing yet it gives None.
        while (part := stream.read(min(limit, 1 << 16))) is not None:
            first = part
            if first:
                break
            if time.monotonic() > until:
                raise TimeoutError(errno.ETIMEDOUT, "nobody writes to this pipe", str(path))
            time.sleep(0.02)
        os.set_blocking(number, True)
        return read_to_limit(stream, limit, first)


def read_to_limit(stream: Readable, limit: int, first: bytes = b"") -> bytes:
    """What is in `stream` behind `first`, `limit` bytes at most in all: some devices and pipes have no end."""
    parts, left = [first], limit - len(first)
    while left > 0 and (part := stream.read(min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def make_safe_name(text: str, taken: set[str] | None = None, limit: int = 80) -> str:
    """A file name for `text` that is valid on Linux, macOS and Windows, of at most `limit` characters.

    Letters, digits and signs of every script are kept, in their composed form (NFC), where the file system's encoding
    has them; of ASCII only letters, digits, ``.``, ``_`` and ``-``. With `taken`, the name differs from all in it even
    where upper and lower case are the same, and its case-folded form is added to the set: the same texts in the same
    order give the same names. An ending such as ``.png`` is for the caller to add, so names that differ only in their
    ending are not told apart here.

    Example:
        >>> make_safe_name("a/b:c"), make_safe_name("虎猫"), make_safe_name("?")
        ('a_b_c', '虎猫', 'unnamed')
    """
    kept = text if text.isascii() and text.isprintable() else _compose(text)
    name = re.sub(r"[^A-Za-z0-9._\u0080-\U0010ffff-]+", "_", kept)
    name = re.sub(r"_*\s+_*", "_", name).strip("._-") or "unnamed"
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        name = make_plain(name)
    if unicodedata.normalize("NFKC", name).split(".")[0].lower() in _RESERVED:
        name = f"_{name}"
    name = _cut(name, limit)
    if taken is None:
        return name
    unique, number = name, 2
    while unique.casefold() in taken:
        ending = f"-{number}"
        unique = _cut(name, limit - len(ending)) + ending
        number += 1
    taken.add(unique.casefold())
    return unique


_BYTES = 200
"""Of a file name in UTF-8; file systems take 255, and an ending is still to come."""


def _cut(name: str, limit: int) -> str:
    cut = name[:limit].encode("utf-8")[:_BYTES].decode("utf-8", "ignore")
    return unicodedata.normalize("NFC", cut).rstrip("._-") or "unnamed"


def _compose(text: str) -> str:
    """The text in its composed form, with ``_`` for what cannot be printed."""
    composed = unicodedata.normalize("NFC", "".join(_escape_byte(c) for c in text))
    # The joiners within emoji and words are no printable characters; without them the rest is readable still.
    kept = (c for c in composed if unicodedata.category(c) != "Cf")
    return "".join(c if c.isprintable() else "_" for c in kept)


def _escape_byte(character: str) -> str:
    """A byte of a name that is no text, which Python shows as a lone surrogate, as its number."""
    code = ord(character)
    return f"x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else "_" if 0xD800 <= code <= 0xDFFF else character


def make_plain(name: str) -> str:
    """The name in ASCII: accents go, and any other character becomes its number.

    Example:
        >>> make_plain("héllo-猫")
        'hello-u732b'
    """
    letters = []
    for character in name:
        plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
        letters.append(plain or ("" if unicodedata.combining(character) else f"u{ord(character):04x}"))
    return re.sub(r"[^A-Za-z0-9._-]+", "_", "".join(letters))


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """No other process is in such a block for the same folder. Where a file system has no locks, nothing is locked."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    # The folder itself, so that no file is left behind.
    number = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def explain_os_error(error: OSError, path: Path | None = None) -> tuple[str, str]:
    """Why something could not be written, and what to do about it; the second may be empty."""
    where = Path(error.filename) if isinstance(error.filename, str) else path
    if error.errno == errno.ENOENT and where is not None and where.parent.is_dir():
        # The folder is there, but its file system makes no files: /proc, /sys.
        return "nothing can be made in its folder", "choose another folder"
    known = _REASONS.get(error.errno) if error.errno is not None else None
    return known or (error.strerror or str(error) or type(error).__name__, "")


def _output_error(path: Path, error: OSError) -> OutputError:
    reason, hint = explain_os_error(error, path)
    return OutputError(f"cannot write {path}: {reason}", hint)
