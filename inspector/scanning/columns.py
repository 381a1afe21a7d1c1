"""What a finished scan knows of each picture: small columns in memory, large ones in a file that is mapped.

Memory grows by about a hundred bytes for each picture; embeddings and small pictures stay on the disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
        top_classes: The most likely classes; a mapped file.
        top_probabilities: Their probabilities; a mapped file.
        embedding: Mapped file, float16 (n, D).
        small: Mapped file, uint8 (n, 32, 32).
    """

    number: NDArray[np.int64]
    label: NDArray[np.int32]
    size: NDArray[np.int32]
    digest: NDArray[np.uint8]
    label_probability: NDArray[np.float32]
    entropy: NDArray[np.float32]
    top_classes: NDArray[np.int32]
    top_probabilities: NDArray[np.float32]
    embedding: NDArray[np.float16]
    small: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.number)

    @property
    def predicted(self) -> NDArray[np.int32]:
        """The most likely class of each picture, int32 (n,); -1 where there are no classes."""
        if not self.top_classes.shape[1]:
            return np.full(len(self), -1, np.int32)
        return np.array(self.top_classes[:, 0])

    @property
    def confidence(self) -> NDArray[np.float32]:
        """Its probability, float32 (n,); NaN where there are no classes."""
        if not self.top_probabilities.shape[1]:
            return np.full(len(self), np.nan, np.float32)
        return np.array(self.top_probabilities[:, 0])

    def walk(self, name: str, step: int = 4096) -> Iterator[tuple[int, NDArray[Any]]]:
        """A large column piece by piece.

        Args:
            name: Its name.
            step: Rows of a piece.

        Yields:
            (the place of its first row, the rows as an array in memory).
        """
        column = getattr(self, name)
        for start in range(0, len(self), step):
            yield start, np.array(column[start : start + step])


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
    try:
        place.mkdir()
        yield _fill(place, rows, count)
    except OSError as error:
        reason, hint = explain_os_error(error, place)
        raise OutputError(f"cannot write into {folder}: {reason}", hint) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _fill(place: Path, rows: Iterable[PictureRows], count: int) -> Columns:
    made: dict[str, NDArray[Any]] = {}
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
        empty = not count or 0 in whole
        made[name] = np.zeros(whole, dtype) if empty else np.memmap(place / name, dtype, "r", shape=whole)
    return Columns(**made)
