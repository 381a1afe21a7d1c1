"""What is frozen is computed once: activations on disk, mapped into memory, and bounded.

One folder for each (weights, preprocess, cut, augmentation); in it one file of rows for each tensor, and the names of
the rows. Rows are only ever appended, names after the rows they name, so that a run killed at any moment leaves a
cache that is whole up to some row.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import OutputError, UsageError
from inspector.output import output_folder, write_text

DEFAULT_LIMIT = 20.0
"""Gigabytes that all folders may take together."""

_ROWS, _KEY, _LOCK = "rows.txt", "key.json", "lock"
_ID = 72  # bytes of a row's name in rows.txt: 64 of a digest, a colon, the version, padding, a line end


def default_folder() -> Path:
    """INSPECTOR_CACHE, else the user's cache folder."""
    if given := os.environ.get("INSPECTOR_CACHE"):
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "inspector" / "finetune"


@dataclass(frozen=True)
class Column:
    """One tensor of every row. shape: of one picture, without the batch. dtype: numpy's name."""

    tensor: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass
class Entry:
    """The folder of one key, locked while it is open. Made by :func:`open_entry`.

    rows: name of a row -> its number. columns: what each row holds.
    """

    folder: Path
    columns: tuple[Column, ...]
    rows: dict[str, int] = field(default_factory=dict)
    computed: int = 0

    def file(self, column: Column) -> Path:
        """The file of a column."""
        return self.folder / f"{self.columns.index(column)}.{column.dtype}"

    def missing(self, names: Sequence[str]) -> list[str]:
        """Those of `names` that have no row yet, once each."""
        return [name for name in dict.fromkeys(names) if name not in self.rows]

    def append(self, names: Sequence[str], values: Mapping[str, NDArray[Any]]) -> None:
        """Adds rows. values: tensor -> (len(names), *shape). Raises OverflowError where float16 cannot hold a value."""
        arrays = []
        for column in self.columns:
            # Beyond the range of float16 a value becomes infinite, which is looked for below.
            with np.errstate(over="ignore"):
                array = np.ascontiguousarray(values[column.tensor].reshape(len(names), *column.shape), column.dtype)
            if column.dtype == "float16" and not np.isfinite(array).all():
                raise OverflowError(column.tensor)
            arrays.append(array)
        for column, array in zip(self.columns, arrays, strict=True):
            with self.file(column).open("ab") as file:
                file.write(array.data)
                file.flush()
                os.fsync(file.fileno())
        with (self.folder / _ROWS).open("ab") as file:
            file.write(b"".join(f"{name:<{_ID - 1}}\n".encode() for name in names))
            file.flush()
            os.fsync(file.fileno())
        for name in names:
            self.rows[name] = len(self.rows)
        self.computed += len(names)

    def map(self, tensor: str) -> NDArray[Any]:
        """All rows of one tensor, mapped from disk: (rows, *shape), read-only."""
        column = next(c for c in self.columns if c.tensor == tensor)
        mapped: NDArray[Any] = np.memmap(
            self.file(column), column.dtype, mode="r", shape=(len(self.rows), *column.shape)
        )
        return mapped


@contextlib.contextmanager
def open_entry(
    root: Path, key: Mapping[str, Any], columns: Sequence[Column], rows: int, limit: float, note: Callable[[str], None]
) -> Iterator[Entry]:
    """The folder for `key` below `root`, with room for `rows` rows, locked against other processes while it is filled.

    limit: gigabytes of all folders; the least recently used are removed for room.
    Raises UsageError when the rows alone are more than the limit, OutputError when the disk has no room for them.
    """
    text = json.dumps({**key, "columns": [[c.tensor, list(c.shape), c.dtype] for c in columns]}, sort_keys=True)
    folder = output_folder(root / hashlib.sha256(text.encode()).hexdigest()[:24])
    with _locked(folder / _LOCK):
        if not (folder / _KEY).exists():
            write_text(folder / _KEY, text)
        entry = Entry(folder, tuple(columns))
        entry.rows = _whole_rows(entry)
        os.utime(folder / _KEY)
        size = sum(c.row_bytes for c in columns)
        _make_room(root, folder, size * rows, max(0, rows - len(entry.rows)) * size, limit, note)
        yield entry


def needed_gigabytes(columns: Sequence[Column], rows: int) -> float:
    """What `rows` rows take on disk."""
    return sum(c.row_bytes for c in columns) * rows / 1e9


def _whole_rows(entry: Entry) -> dict[str, int]:
    """The rows that every file holds in full; what a killed run left behind them is cut off."""
    path = entry.folder / _ROWS
    text = path.read_bytes() if path.exists() else b""
    count = len(text) // _ID
    for column in entry.columns:
        file = entry.file(column)
        count = min(count, (file.stat().st_size if file.exists() else 0) // column.row_bytes)
    for file, size in ((path, _ID), *((entry.file(c), c.row_bytes) for c in entry.columns)):
        if file.exists() and file.stat().st_size != count * size:
            os.truncate(file, count * size)
    names = [text[k * _ID : (k + 1) * _ID].decode("ascii", "replace").strip() for k in range(count)]
    return {name: k for k, name in enumerate(names)}


def _make_room(root: Path, own: Path, whole: int, more: int, limit: float, note: Callable[[str], None]) -> None:
    if whole > limit * 1e9:
        raise UsageError(
            f"the activations take {whole / 1e9:.1f} GB, and the cache may have {limit:g}",
            "give a larger --cache-limit, fewer --versions, or unfreeze from a later layer",
        )
    others = sorted(
        (f for f in root.iterdir() if f != own and (f / _KEY).is_file()), key=lambda f: (f / _KEY).stat().st_mtime
    )
    sizes = {folder: _size(folder) for folder in (*others, own)}
    total = sum(sizes.values()) + more
    for folder in others:
        if total <= limit * 1e9:
            break
        with contextlib.suppress(BlockingIOError), _locked(folder / _LOCK, wait=False):
            shutil.rmtree(folder, ignore_errors=True)
            total -= sizes[folder]
            note(f"the cache made room: {sizes[folder] / 1e9:.1f} GB of an earlier run were removed")
    free = shutil.disk_usage(root).free
    if more > free - 2**28:
        raise OutputError(
            f"the activations take {more / 1e9:.1f} GB more, and the disk of {root} has {free / 1e9:.1f} free",
            "choose another --cache, fewer --versions, or a later layer",
        )


def _size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.iterdir() if f.is_file())


@contextlib.contextmanager
def _locked(path: Path, wait: bool = True) -> Iterator[None]:
    """The file `path` held by this process alone. Without `wait`, BlockingIOError where another holds it."""
    try:
        import fcntl
    except ImportError:  # Windows: two runs at a time must use two cache folders
        yield
        return
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)
