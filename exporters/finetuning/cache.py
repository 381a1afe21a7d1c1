"""What is frozen is computed once: activations on disk, mapped into memory, and bounded.

One folder for each (weights, preprocess, cut, augmentation); in it one file of rows for each tensor, and the names of
the rows. Rows are appended, names after the rows they name, so that a run killed at any moment leaves a cache that is
whole up to some row. Two locks in it: one is held while rows are added, the other is shared by all runs that read them,
and neither the folder nor a row is removed while it is held.
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
from inspector.files import output_folder, write_text

_ROWS, _KEY, _LOCK, _USED = "rows.txt", "key.json", "lock", "used"
_ID = 72  # bytes of a row's name in rows.txt: 64 of a digest, a colon, the version, padding, a line end


def find_default_folder() -> Path:
    """INSPECTOR_CACHE, else the user's cache folder."""
    if given := os.environ.get("INSPECTOR_CACHE"):
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "inspector" / "finetune"


@dataclass(frozen=True)
class Column:
    """One tensor of every row.

    Attributes:
        shape: Of one picture, without the batch.
        dtype: numpy's name.
    """

    tensor: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass
class CacheEntry:
    """The folder of one key, kept while it is open. Made by :func:`open_entry`.

    Attributes:
        rows: Name of a row -> its number.
        columns: What each row holds.
        computed: Rows that were added.
    """

    folder: Path
    columns: tuple[Column, ...]
    rows: dict[str, int] = field(default_factory=dict)
    computed: int = 0
    filling: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """For the processes that only read: a lock stays with the one that took it."""
        return {**vars(self), "filling": contextlib.ExitStack()}

    @property
    def row_bytes(self) -> int:
        """Bytes of one row with its name."""
        return sum(c.row_bytes for c in self.columns) + _ID

    def stop_filling(self) -> None:
        """Lets another run add its rows; those that are here stay until the entry is closed."""
        self.filling.close()

    def file(self, column: Column) -> Path:
        """The file of a column."""
        return self.folder / f"{self.columns.index(column)}.{column.dtype}"

    def missing(self, names: Sequence[str]) -> list[str]:
        """Those of `names` that have no row yet, once each."""
        return [name for name in dict.fromkeys(names) if name not in self.rows]

    def append(self, names: Sequence[str], values: Mapping[str, NDArray[Any]]) -> None:
        """Adds rows.

        Args:
            names: Names of the rows.
            values: Tensor -> (len(names), *shape).

        Raises:
            OverflowError: float16 cannot hold a value.
        """
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
        self._name(names)
        self.computed += len(names)

    def keep(self, names: Sequence[str]) -> None:
        """Removes every row but those of `names`, in place, since the disk may have no room for a copy."""
        kept = sorted((self.rows[name], name) for name in dict.fromkeys(names) if name in self.rows)
        # Without names no row counts: a run killed below leaves an empty cache, and not a mixed up one.
        (self.folder / _ROWS).unlink(missing_ok=True)
        self.rows = {}
        for column in self.columns:
            size = column.row_bytes
            if not self.file(column).exists():
                continue
            with self.file(column).open("r+b") as file:
                for new, (old, _) in enumerate(kept):
                    if new != old:
                        file.seek(old * size)
                        row = file.read(size)
                        file.seek(new * size)
                        file.write(row)
                file.truncate(len(kept) * size)
                file.flush()
                os.fsync(file.fileno())
        self._name([name for _, name in kept])

    def _name(self, names: Sequence[str]) -> None:
        with (self.folder / _ROWS).open("ab") as file:
            file.write(b"".join(f"{name:<{_ID - 1}}\n".encode() for name in names))
            file.flush()
            os.fsync(file.fileno())
        for name in names:
            self.rows[name] = len(self.rows)

    def map(self, tensor: str) -> NDArray[Any]:
        """All rows of one tensor, mapped from disk: (rows, *shape), read-only."""
        column = next(c for c in self.columns if c.tensor == tensor)
        mapped: NDArray[Any] = np.memmap(
            self.file(column), column.dtype, mode="r", shape=(len(self.rows), *column.shape)
        )
        return mapped


@contextlib.contextmanager
def open_entry(
    root: Path,
    key: Mapping[str, Any],
    columns: Sequence[Column],
    names: Sequence[str],
    limit: float,
    note: Callable[[str], None],
) -> Iterator[CacheEntry]:
    """The folder for `key` below `root`, with room for the rows `names`; no other run removes it while it is open.

    Until :meth:`CacheEntry.stop_filling` or the end no other process adds rows. For room the least recently used
    folders are removed, and of this one the rows that are not wanted, but nothing that a run is using.

    Args:
        root: The folder of all entries.
        key: What the rows depend on.
        columns: What each row holds.
        names: The rows that this run needs.
        limit: Gigabytes that all folders may take together.
        note: Gets remarks.

    Raises:
        UsageError: The rows alone are more than the limit.
        OutputError: The disk has no room for them.
    """
    text = json.dumps({**key, "columns": [[c.tensor, list(c.shape), c.dtype] for c in columns]}, sort_keys=True)
    folder = root / hashlib.sha256(text.encode()).hexdigest()[:24]
    with contextlib.ExitStack() as stack:
        filling = stack.enter_context(contextlib.ExitStack())
        _enter(folder, filling)
        if not (folder / _KEY).exists():
            write_text(folder / _KEY, text)
        entry = CacheEntry(folder, tuple(columns), filling=filling)
        entry.rows = _whole_rows(entry)
        os.utime(folder / _KEY)
        try:
            with _locked(folder / _USED, wait=False):
                _make_room(root, entry, names, limit, note, alone=True)
        except BlockingIOError:
            _make_room(root, entry, names, limit, note, alone=False)
        # Whoever removes anything holds the first lock, so that nobody can between these lines.
        stack.enter_context(_locked(folder / _USED, shared=True))
        yield entry


def _enter(folder: Path, stack: contextlib.ExitStack) -> None:
    """Takes the lock of a folder that is there: another run may remove it while this one waits."""
    while True:
        output_folder(folder)
        with contextlib.ExitStack() as attempt:
            try:
                file = attempt.enter_context(_locked(folder / _LOCK))
                if file is None or os.path.samestat(os.fstat(file), (folder / _LOCK).stat()):
                    stack.push(attempt.pop_all())
                    return
            except FileNotFoundError:
                continue


def estimate_gigabytes(columns: Sequence[Column], rows: int) -> float:
    """What `rows` rows take on disk."""
    return sum(c.row_bytes for c in columns) * rows / 1e9


def _whole_rows(entry: CacheEntry) -> dict[str, int]:
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


def _make_room(
    root: Path, entry: CacheEntry, names: Sequence[str], limit: float, note: Callable[[str], None], alone: bool
) -> None:
    """alone: no other run uses the entry, so that its rows may go."""
    most, whole = limit * 1e9, entry.row_bytes * len(dict.fromkeys(names))
    if whole > most:
        raise UsageError(
            f"the activations take {whole / 1e9:.1f} GB, and the cache may have {limit:g}",
            "give a larger --cache-limit, fewer --versions, or unfreeze from a later layer",
        )
    more = entry.row_bytes * len(entry.missing(names))
    others = sorted(
        (f for f in root.iterdir() if f != entry.folder and (f / _KEY).is_file()),
        key=lambda f: (f / _KEY).stat().st_mtime,
    )
    sizes = {folder: _size(folder) for folder in others}
    own = _size(entry.folder)

    def compact() -> int:
        before = _size(entry.folder)
        entry.keep(names)
        after = _size(entry.folder)
        if after < before:
            note(f"the cache made room: {_gigabytes(before - after)} of other pictures were removed")
        return after

    if alone and (own + more > most or not _fits(root, more)):
        own = compact()
    total = sum(sizes.values()) + own + more
    for folder in others:
        if total <= most:
            break
        with contextlib.suppress(BlockingIOError), contextlib.ExitStack() as stack:
            stack.enter_context(_locked(folder / _LOCK, wait=False))
            stack.enter_context(_locked(folder / _USED, wait=False))
            shutil.rmtree(folder, ignore_errors=True)
            total -= sizes[folder]
            note(f"the cache made room: {_gigabytes(sizes[folder])} of an earlier run were removed")
    if total > most and alone:
        total += compact() - own
    if total > most:
        note(f"the cache grows to {_gigabytes(total)}, beyond its {limit:g} GB: other runs use what is in it")
    if not _fits(root, more):
        raise OutputError(
            f"the activations take {more / 1e9:.1f} GB more, and the disk of {root} has "
            f"{shutil.disk_usage(root).free / 1e9:.1f} free",
            "choose another --cache, fewer --versions, or a later layer",
        )


def _fits(root: Path, more: int) -> bool:
    return more <= shutil.disk_usage(root).free - 2**28


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.iterdir() if f.is_file())


@contextlib.contextmanager
def _locked(path: Path, wait: bool = True, shared: bool = False) -> Iterator[int | None]:
    """The file `path` held by this process alone, or shared: its descriptor, None where there are no locks.

    Without `wait`, BlockingIOError where another holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: two runs at a time must use two cache folders
        yield None
        return
    with path.open("ab") as file:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        try:
            yield file.fileno()
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)
