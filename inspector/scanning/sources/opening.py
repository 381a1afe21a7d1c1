"""Opening files and addresses, and the bytes of one picture of the list."""

from __future__ import annotations

import os
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import IO, Any

from inspector.errors import ImageError, InspectorError, MissingExtra, one_line
from inspector.extras import need
from inspector.image import SUFFIXES, read_picture
from inspector.scanning.listing import Listed, ScanError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|[a-z0-9]+::")
_KEPT = 4
"""Archives that are kept open for the next picture."""
_MOST = 512 * 1024 * 1024
"""Largest member of an archive that is read, in bytes; the limit for a picture's file."""


def is_address(text: str) -> bool:
    """Whether a text is an address of fsspec (``s3://bucket/folder``) and no path."""
    return _ADDRESS.match(text) is not None


def find_suffix(name: str) -> str:
    """The ending of a file's name in lower case, with its dot; without what follows a question mark in an address."""
    return PurePosixPath(name.partition("?")[0] if is_address(name) else name).suffix.lower()


def is_picture(name: str) -> bool:
    """Whether a name has a picture's ending and nothing in its path is hidden."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts if part != "..")


def split_address(address: str) -> tuple[Any, str]:
    """(the file system of fsspec, the path in it) of an address.

    Raises:
        MissingExtra: It needs a package that is not installed.
        ScanError: There is no such kind of address, or it cannot be reached.
    """
    core = need("fsspec.core", "scan", "an address as DATA needs fsspec")
    try:
        system, path = core.url_to_fs(address)
    except ImportError as error:
        kind = address.partition(":")[0]
        known = need("fsspec.registry", "scan", "an address as DATA needs fsspec").known_implementations
        hint = str(known.get(kind, {}).get("err") or one_line(str(error), 200))
        raise MissingExtra(f"{kind} addresses need a package that is not installed: {address}", hint) from None
    except Exception as error:  # each of fsspec's systems has errors of its own
        raise explain_address(address, error) from None
    return system, str(path)


def explain_address(address: str, error: Exception) -> ScanError:
    """What an address's own error means."""
    text = one_line(str(error), 200) or type(error).__name__
    if "range requests" in text:
        return ScanError(
            f"{address} cannot be read in parts: its server does not answer range requests",
            "download it first, or serve it by another server",
        )
    if text.startswith("Protocol not known"):
        return ScanError(f"{address} is no kind of address that fsspec knows", "known are s3://, gs://, https://, ...")
    return ScanError(f"{address} cannot be read: {text}", "check the address, the network and your rights there")


@contextmanager
def explain_reading(given: str, what: str, *known: type[Exception]) -> Iterator[None]:
    """Make ScanError of what goes wrong while a file that lists pictures is read.

    Args:
        given: The file or address.
        what: What it cannot be read as, such as `as a zip file`.
        known: Errors that damaged data raises, beside OSError; of an address any is.
    """
    try:
        yield
    except InspectorError:
        raise
    except Exception as error:
        if is_address(given) and not isinstance(error, known):
            raise explain_address(given, error) from None
        if not isinstance(error, (OSError, *known)):
            raise
        raise ScanError(f"{given} cannot be read{what}: {one_line(str(error), 200)}") from None


def open_bytes(file: str) -> IO[bytes]:
    """A file or an address, open for reading bytes; it can be set to any place."""
    if not is_address(file):
        return open(file, "rb")  # noqa: PTH123
    system, path = split_address(file)
    opened: IO[bytes] = system.open(path, "rb")
    return opened


class _Archive(zipfile.ZipFile):
    """A zip file that closes what it was opened on."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        super().__init__(stream)

    def close(self) -> None:
        super().close()
        self._stream.close()


class PictureReader:
    """Reads the bytes of listed pictures; archives stay open from one to the next."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, Any] = OrderedDict()

    def read(self, picture: Listed) -> bytes:
        """The bytes of a picture's file.

        Raises:
            ImageError: It is gone or cannot be read.
        """
        archived = bool(picture.member) or picture.start >= 0
        if not archived and not is_address(picture.file):
            return read_picture(picture.file)
        try:
            if picture.member:
                return self._read_member(picture)
            if archived:
                return self._read_part(picture)
            with open_bytes(picture.file) as stream:
                return stream.read()
        except (ImageError, MissingExtra):
            raise
        except FileNotFoundError:
            raise ImageError(f"there is no file {picture.file}") from None
        except Exception as error:  # zip, tar and each of fsspec's systems have errors of their own
            self.close()
            raise ImageError(f"{picture.name} cannot be read: {one_line(str(error), 200)}") from None

    def close(self) -> None:
        """Close the archives."""
        while self._open:
            with suppress(OSError):
                self._open.popitem()[1].close()

    def _read_member(self, picture: Listed) -> bytes:
        archive = self._keep(picture.file, lambda: _Archive(open_bytes(picture.file)))
        if archive.getinfo(picture.member).file_size > _MOST:
            raise ImageError(f"{picture.name} has more than {_MOST / 1e6:.0f} MB, the limit for a picture's file")
        data: bytes = archive.read(picture.member)
        return data

    def _read_part(self, picture: Listed) -> bytes:
        if picture.size > _MOST:
            raise ImageError(f"{picture.name} has more than {_MOST / 1e6:.0f} MB, the limit for a picture's file")
        stream = self._keep(picture.file, lambda: open_bytes(picture.file))
        stream.seek(picture.start)
        data: bytes = stream.read(picture.size)
        if len(data) < picture.size:
            raise ImageError(f"{picture.file} ends before {picture.name} does: it has changed or is truncated")
        return data

    def _keep(self, file: str, make: Any) -> Any:
        if not is_address(file) and not os.path.exists(file):  # noqa: PTH110
            if file in self._open:
                self._open.pop(file).close()
            raise FileNotFoundError(file)
        if file not in self._open:
            self._open[file] = make()
        self._open.move_to_end(file)
        while len(self._open) > _KEPT:
            self._open.popitem(last=False)[1].close()
        return self._open[file]
