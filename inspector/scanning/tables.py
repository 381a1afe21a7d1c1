"""Parquet files, written whole or not at all; the same values give the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inspector.extras import need
from inspector.files import atomic_path

_GROUP = 4096
"""Rows of a group of a Parquet file."""


def write_parquet(path: Path, pieces: Iterable[Mapping[str, Any]], about: Mapping[str, str]) -> Path:
    """Write a table piece by piece.

    Args:
        path: Where to.
        pieces: Column -> values of some rows: arrays, or lists; of an array (n, d) each row becomes a list of d.
        about: Column -> what it is; it becomes the column's description in the file.

    Raises:
        OutputError: It cannot be written.
    """
    arrow = need("pyarrow", "scan", "the tables of a scan need pyarrow")
    parquet = need("pyarrow.parquet", "scan", "the tables of a scan need pyarrow")
    with atomic_path(path) as temporary:
        writer = None
        try:
            for piece in pieces:
                batch = _make_batch(arrow, piece, about, writer.schema if writer is not None else None)
                if writer is None:
                    writer = parquet.ParquetWriter(temporary, batch.schema, compression="zstd", version="2.6")
                writer.write_table(batch, row_group_size=_GROUP)
        finally:
            if writer is not None:
                writer.close()
    return path


def _make_batch(arrow: Any, piece: Mapping[str, Any], about: Mapping[str, str], schema: Any) -> Any:
    arrays = {}
    for name, values in piece.items():
        kind = schema.field(name).type if schema is not None else _find_kind(arrow, name)
        if isinstance(values, np.ndarray) and values.ndim == 2:
            flat = arrow.array(np.ascontiguousarray(values).reshape(-1))
            arrays[name] = arrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
        elif isinstance(values, np.ndarray) and values.dtype.kind == "f":
            arrays[name] = arrow.array(values, mask=np.isnan(values), type=kind)
        else:
            arrays[name] = arrow.array(values, type=kind)
    fields = [arrow.field(name, array.type, metadata={"description": about[name]}) for name, array in arrays.items()]
    return arrow.table(list(arrays.values()), schema=arrow.schema(fields))


_KINDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("layer", "kind", "path", "label", "predicted", "suggested", "sha256", "sprite"), ("string",)),
    "sprite_row": ("int32",),
    "classes": ("list_", "string"),
    "class_means": ("list_", "float64"),
    "top_pictures": ("list_", "int64"),
    "top_values": ("list_", "float32"),
    "top_rows": ("list_", "int32"),
    "top_columns": ("list_", "int32"),
    "channels": ("list_", "int32"),
    "similar": ("list_", "int64"),
}
"""Types of columns whose first rows may hold nothing, by the names of pyarrow's functions."""


def _find_kind(arrow: Any, name: str) -> Any:
    """The type of a column; None where its values tell."""
    made = None
    for part in reversed(_KINDS.get(name, ())):
        made = getattr(arrow, part)() if made is None else getattr(arrow, part)(made)
    return made
