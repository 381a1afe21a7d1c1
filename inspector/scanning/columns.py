"""What a finished scan knows of each picture: small columns in memory, large ones in files.

Memory grows by about two hundred bytes for each picture; embeddings, their principal components and small pictures stay
on the disk. They are read and not mapped, so that no page of them counts as memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.files import explain_os_error
from inspector.leftovers import name_part, sweep
from inspector.scanning.state import PictureRows

SMALL_COLUMNS = ("number", "label", "size", "digest", "label_probability", "entropy")
"""Kept in memory."""
LARGE_COLUMNS = ("top_classes", "top_probabilities", "embedding", "small")
"""Kept in files."""
STEP = 1024
"""AnyRows that are in memory at a time: no more for many pictures than for a thousand."""


class StoredRows:
    """An array in a file, of which rows are read when they are asked for.

    Args:
        path: The file.
        dtype: Of its values.
        shape: (rows, ...).
    """

    def __init__(self, path: Path, dtype: Any, shape: tuple[int, ...]) -> None:
        self.dtype, self.shape = np.dtype(dtype), shape
        self._bytes = self.dtype.itemsize * int(np.prod(shape[1:]))
        self._file = path.open("rb")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        if isinstance(rows, slice):
            first, end, _ = rows.indices(len(self))
            data = self._read(first, max(0, end - first))
            count = max(0, end - first)
        else:
            data, count = b"".join([self._read(row, 1) for row in rows.tolist()]), len(rows)
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])

    def _read(self, row: int, count: int) -> bytes:
        self._file.seek(row * self._bytes)
        return self._file.read(count * self._bytes)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


AnyRows = NDArray[Any] | StoredRows
"""AnyRows in memory or in a file; a slice and an array of their numbers give some of them."""


def walk_rows(rows: AnyRows, step: int = STEP) -> Iterator[tuple[int, NDArray[Any]]]:
    """AnyRows piece by piece.

    Args:
        rows: In memory or in a file.
        step: How many at a time.

    Yields:
        (the place of the first, the rows as an array in memory).
    """
    for start in range(0, len(rows), step):
        yield start, np.asarray(rows[start : start + step])


@dataclass(frozen=True)
class Columns:
    """The rows of all pictures that were used, in the order of the list: n of them.

    Attributes:
        number: As in :class:`PictureRows`, and so are the others.
        label: Class of the label.
        size: (width, height).
        digest: First bytes of the file's SHA-256.
        label_probability: Probability of the label's class.
        entropy: Of all probabilities.
        top_classes: The most likely classes; in a file.
        top_probabilities: Their probabilities; in a file.
        embedding: In a file, float16 (n, D).
        small: In a file, uint8 (n, 32, 32).
        place: The folder of these files; None where all is in memory.
        held: All that is open there.
    """

    number: NDArray[np.int64]
    label: NDArray[np.int32]
    size: NDArray[np.int32]
    digest: NDArray[np.uint8]
    label_probability: NDArray[np.float32]
    entropy: NDArray[np.float32]
    top_classes: AnyRows
    top_probabilities: AnyRows
    embedding: AnyRows
    small: AnyRows
    place: Path | None = None
    held: list[StoredRows] = field(default_factory=list, repr=False)

    def __len__(self) -> int:
        return len(self.number)

    @property
    def predicted(self) -> NDArray[np.int32]:
        """The most likely class of each picture, int32 (n,); -1 where there are no classes."""
        if not self.top_classes.shape[1]:
            return np.full(len(self), -1, np.int32)
        return np.concatenate([np.zeros(0, np.int32), *(rows[:, 0] for _, rows in self.walk("top_classes"))])

    @property
    def confidence(self) -> NDArray[np.float32]:
        """Its probability, float32 (n,); NaN where there are no classes."""
        if not self.top_probabilities.shape[1]:
            return np.full(len(self), np.nan, np.float32)
        return np.concatenate([np.zeros(0, np.float32), *(rows[:, 0] for _, rows in self.walk("top_probabilities"))])

    def keep(self, name: str, pieces: Iterable[NDArray[Any]]) -> AnyRows:
        """AnyRows that are found piece by piece, as an array; beside the large columns where these are in files.

        Args:
            name: Of the file.
            pieces: Their rows, at least one piece.
        """
        if self.place is None:
            return np.concatenate(list(pieces))
        with (self.place / name).open("wb") as stream:
            count = 0
            for piece in pieces:
                stream.write(np.ascontiguousarray(piece).tobytes())
                count += len(piece)
        self.held.append(StoredRows(self.place / name, piece.dtype, (count, *piece.shape[1:])))
        return self.held[-1]

    def walk(self, name: str, step: int = STEP) -> Iterator[tuple[int, NDArray[Any]]]:
        """A large column piece by piece.

        Args:
            name: Its name.
            step: AnyRows of a piece.

        Returns:
            Pairs (the place of its first row, the rows as an array in memory).
        """
        return walk_rows(getattr(self, name), step)


@contextmanager
def gather_columns(folder: Path, rows: Iterable[PictureRows], count: int) -> Iterator[Columns]:
    """The columns of a scan, for the time of the block.

    Args:
        folder: Where the large ones are put meanwhile.
        rows: Of each shard, in order.
        count: How many pictures there are in them.

    Raises:
        OutputError: The disk is full.
    """
    from inspector.errors import OutputError

    sweep(folder)
    place = folder / name_part()
    held: list[StoredRows] = []
    try:
        place.mkdir()
        yield _fill(place, rows, count, held)
    except OSError as error:
        reason, hint = explain_os_error(error, place)
        raise OutputError(f"cannot write into {folder}: {reason}", hint) from error
    finally:
        for one in held:
            one.close()
        shutil.rmtree(place, ignore_errors=True)


def _fill(place: Path, rows: Iterable[PictureRows], count: int, held: list[StoredRows]) -> Columns:
    made: dict[str, Any] = {}
    at = 0
    streams = {name: (place / name).open("wb") for name in LARGE_COLUMNS}
    shapes: dict[str, tuple[Any, tuple[int, ...]]] = {}
    try:
        for part in rows:
            for name in SMALL_COLUMNS:
                values = getattr(part, name)
                if name not in made:
                    made[name] = np.zeros((count, *values.shape[1:]), values.dtype)
                made[name][at : at + len(part)] = values
            for name, stream in streams.items():
                values = getattr(part, name)
                shapes[name] = values.dtype, values.shape[1:]
                # Written and not mapped, so that a full disk is an error and not a signal.
                stream.write(np.ascontiguousarray(values).tobytes())
            at += len(part)
    finally:
        for stream in streams.values():
            stream.close()
    for name, (dtype, shape) in shapes.items():
        whole = (count, *shape)
        if 0 in whole:
            made[name] = np.zeros(whole, dtype)
        else:
            held.append(StoredRows(place / name, dtype, whole))
            made[name] = held[-1]
    return Columns(**made, place=place, held=held)
