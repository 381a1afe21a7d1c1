"""The digest of a file, made beside whatever else is done with it."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from inspector.errors import ModelError
from inspector.graph.external import identify_file


class FileDigest:
    """The SHA-256 of a file, in the making from now on.

    Hashing 100 MB takes a processor 0.1 to 0.4 s and needs no lock of the interpreter, and nobody asks for a digest
    before the model was read and run.

    Args:
        path: The file.
        identity: What it must be, as :func:`inspector.graph.external.identify_file` tells it.
    """

    def __init__(self, path: Path, identity: tuple[int, int, int]) -> None:
        self._file = path, identity
        self._process = os.getpid()
        pool = ThreadPoolExecutor(1)
        self._made: Future[str] = pool.submit(_hash, path, identity)
        pool.shutdown(wait=False)  # its thread ends with the digest

    def end_with(self, kind: type[BaseException] | None, *_: object) -> None:
        """The end of a `with`: behind an error nobody will ask, so the file is closed before the error goes on."""
        if kind is not None:
            wait([self._made])

    def result(self) -> str:
        """Wait for it: hex.

        Raises:
            ModelError: The file was changed while it was read, or cannot be read any more.
        """
        if os.getpid() != self._process and not self._made.done():
            # A copy of the process has no copy of the thread.
            return _hash(*self._file)
        return self._made.result()


def _hash(path: Path, identity: tuple[int, int, int]) -> str:
    try:
        # Read, and not mapped: a program that empties a mapped file ends this one.
        with path.open("rb") as file:
            unchanged = identify_file(os.fstat(file.fileno())) == identity
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if unchanged and identify_file(os.fstat(file.fileno())) == identity:
                return digest
    except OSError as error:
        raise ModelError(f"{path} cannot be read any more: {error.strerror}") from None
    raise ModelError(f"{path} was changed while it was open", "open it again")
