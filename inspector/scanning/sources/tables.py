"""Lists of pictures: CSV and Parquet files with a column of paths or addresses, and one of labels if there are any."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from inspector.extras import need
from inspector.scanning.listing import Listed, ScanError, clean_name
from inspector.scanning.sources.opening import explain_reading, find_suffix, is_address, is_picture, open_bytes

_PATHS = ("path", "image", "file", "filename", "file_name", "filepath", "image_path", "picture", "url")
_LABELS = ("label", "class", "target", "category", "class_name", "cls")


def list_csv(given: str) -> Iterator[Listed]:
    """The pictures of a CSV file, or of one with tabs; without a header the first two columns are path and label.

    Raises:
        ScanError: It cannot be read, or has no column of paths.
    """
    with explain_reading(given, "", UnicodeDecodeError, csv.Error), open_bytes(given) as stream:
        rows = csv.reader(
            io.TextIOWrapper(stream, "utf-8-sig", newline=""),
            delimiter="\t" if find_suffix(given) == ".tsv" else ",",
        )
        first = next(rows, [])
        header = [cell.strip().lower() for cell in first]
        if any(cell in _PATHS for cell in header):
            path, label = _find_columns(header, given)
            yield from _join(given, rows, path, label)
        elif first and is_picture(Path(first[0]).name):
            yield from _join(given, [first], 0, 1)
            yield from _join(given, rows, 0, 1)
        else:
            raise ScanError(f"{given} has no column of paths: {', '.join(first)}", f"name one {_PATHS[0]}")


def list_parquet(given: str) -> Iterator[Listed]:
    """The pictures of a Parquet file.

    Raises:
        ScanError: It cannot be read, or has no column of paths.
        MissingExtra: pyarrow is not installed.
    """
    parquet = need("pyarrow.parquet", "scan", "a Parquet list needs pyarrow")
    # pyarrow has errors of its own for damaged data.
    with (
        explain_reading(given, " as Parquet", Exception),
        open_bytes(given) as stream,
        parquet.ParquetFile(stream) as file,
    ):
        names = [str(name) for name in file.schema_arrow.names]
        path, label = _find_columns([name.lower() for name in names], given)
        columns = [names[k] for k in (path, label) if k is not None]
        for batch in file.iter_batches(columns=columns):
            values = [batch.column(name).to_pylist() for name in columns]
            yield from _join(given, zip(*values, strict=True), 0, 1 if len(columns) > 1 else None)


def _find_columns(header: Sequence[str], given: str) -> tuple[int, int | None]:
    paths = [header.index(name) for name in _PATHS if name in header]
    if not paths:
        raise ScanError(f"{given} has no column of paths: {', '.join(header)}", f"name one {_PATHS[0]}")
    labels = [header.index(name) for name in _LABELS if name in header]
    return paths[0], labels[0] if labels else None


def _join(given: str, rows: Iterable[Sequence[Any]], path: int, label: int | None) -> Iterator[Listed]:
    """The pictures of rows; paths are relative to the list's own folder."""
    folder = given.rpartition("/")[0] if is_address(given) else os.path.dirname(given)  # noqa: PTH120
    for row in rows:
        text = str(row[path]).strip() if path < len(row) and row[path] is not None else ""
        if not text:
            continue
        value = row[label] if label is not None and label < len(row) else None
        shown = text if is_address(text) or os.path.isabs(text) else f"{folder}/{text}" if folder else text  # noqa: PTH117
        file = shown if is_address(shown) else os.path.abspath(shown)  # noqa: PTH100
        told = None if value is None or str(value).strip() == "" else clean_name(str(value).strip())
        yield Listed(clean_name(shown if is_address(shown) else Path(shown).as_posix()), file, told)
