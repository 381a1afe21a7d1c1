"""The file of a state: written whole or not at all, the same state the same bytes, nothing in it executed.

Sixteen bytes that say what it is, the SHA-256 of the rest, and a zip file of numpy arrays in fixed order, no times.
Histograms are mostly zeros and are written as places and counts.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.files import write_bytes
from inspector.scanning.exact import BINS
from inspector.scanning.listing import ScanError
from inspector.scanning.state import ChannelSums, PictureRows, ScanState, list_arrays

MAGIC = b"inspector-scan\x00\x02"
"""What the file begins with; the last byte is the version of the form."""
MAX_BYTES = 4 * 1024**3
"""What a state may unpack to; one of 256 pictures and 10,000 channels has some 20 MB."""


def save_scan_state(state: ScanState, path: str | os.PathLike[str]) -> Path:
    """Write a state, whole or not at all. The same state gives the same bytes.

    Raises:
        OutputError: It cannot be written.
    """
    return write_bytes(path, pack_state(state))


def pack_state(state: ScanState) -> bytes:
    """The bytes of a state's file."""
    document = {
        "kind": "inspector scan state",
        "scan": state.scan,
        "ranges": [list(one) for one in state.ranges],
        "pictures": state.pictures,
        "skipped": [list(one) for one in state.skipped],
        "rows": state.rows is not None,
    }
    sums = dict(list_arrays(state.sums))
    histogram = sums.pop("histogram").reshape(-1)
    filled = np.flatnonzero(histogram)
    arrays: dict[str, NDArray[Any]] = {
        "document": np.frombuffer(json.dumps(document, sort_keys=True).encode(), np.uint8),
        "sums/histogram_places": filled.astype(np.int64),
        "sums/histogram_counts": histogram[filled],
        **{f"sums/{name}": array for name, array in sums.items()},
        **(
            {f"rows/{name}": array for name, array in list_arrays(state.rows).items()} if state.rows is not None else {}
        ),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in sorted(arrays):
            entry = io.BytesIO()
            np.save(entry, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            # Half floats of an embedding and grey pictures hardly shrink_view, and level 1 takes a third of the time.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), entry.getvalue(), zipfile.ZIP_DEFLATED, 1)
    body = stream.getvalue()
    return MAGIC + hashlib.sha256(body).digest() + body


def load_scan_state(path: str | os.PathLike[str], rows: bool = True) -> ScanState:
    """Read a state. Nothing in it is executed; its digest and its size are checked first.

    Args:
        path: The file.
        rows: Whether to read what it holds of each picture.

    Raises:
        ScanError: It is no state, damaged, or of another version.
    """
    file = Path(path)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ScanError(f"{file} cannot be read: {error.strerror or error}") from None
    return unpack_state(data, str(file), rows)


def unpack_state(data: bytes, name: str, rows: bool = True) -> ScanState:
    """The state of a file's bytes.

    Args:
        data: The bytes.
        name: What to call it in an error.
        rows: Whether to read what it holds of each picture.

    Raises:
        ScanError: As for :func:`load_scan_state`.
    """
    head = len(MAGIC)
    if data[: head - 1] != MAGIC[:-1]:
        raise ScanError(f"{name} is no state of a scan", "`inspector scan` writes them into SCAN/states")
    if data[head - 1] != MAGIC[-1]:
        raise ScanError(f"{name} has form {data[head - 1]}; this version reads {MAGIC[-1]}", "scan again")
    body = data[head + 32 :]
    if hashlib.sha256(body).digest() != data[head : head + 32]:
        raise ScanError(f"{name} is damaged: its digest is not that of its content", "remove it and scan with --resume")
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
                raise ScanError(f"{name} would unpack to more than {MAX_BYTES / 1e9:.0f} GB", "it is no state of ours")
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            wanted = [key for key in archive.files if rows or not key.startswith("rows/")]
            return _build({key: archive[key] for key in wanted}, rows)
    except ScanError:
        raise
    except Exception as error:  # zip, numpy and JSON each have errors of their own for damaged data
        raise ScanError(f"{name} is damaged: {type(error).__name__}", "remove it and scan with --resume") from None


def _build(arrays: Mapping[str, NDArray[Any]], rows: bool) -> ScanState:
    document = json.loads(arrays["document"].tobytes())
    sums = {key.removeprefix("sums/"): array for key, array in arrays.items() if key.startswith("sums/")}
    histogram = np.zeros((len(sums["zeros"]), BINS), np.uint32)
    histogram.reshape(-1)[sums.pop("histogram_places")] = sums.pop("histogram_counts")
    own = {key.removeprefix("rows/"): array for key, array in arrays.items() if key.startswith("rows/")}
    return ScanState(
        scan=str(document["scan"]),
        ranges=tuple((int(a), int(b)) for a, b in document["ranges"]),
        sums=ChannelSums(pictures=int(document["pictures"]), histogram=histogram, **sums),
        rows=PictureRows(**own) if rows and document["rows"] else None,
        skipped=tuple((int(number), str(reason)) for number, reason in document["skipped"]),
    )
