"""Where the values of tensors lie: in the file itself or in external data beside it, checked before they are read."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from inspector import onnx
from inspector.errors import ModelError
from inspector.graph.element_types import find_byte_count, find_numpy_type
from inspector.graph.nodes import iterate_tensors
from inspector.graph.wire import EXTERNAL, NOT_ONNX, SELF
from inspector.records import record

if TYPE_CHECKING:
    from onnx import ModelProto, StringStringEntryProto, TensorProto


@record
class _Reference:
    location: str
    offset: int
    length: int


def read_reference(tensor: TensorProto) -> _Reference:
    """Read location, offset and length of an external tensor.

    Raises:
        KeyError: It has no location.
        ValueError: The offset or the length is no number, or negative.
    """
    entries = {e.key: e.value for e in tensor.external_data}
    reference = _Reference(entries["location"], int(entries.get("offset", 0)), int(entries.get("length", -1)))
    if reference.offset < 0 or reference.length < -1:
        raise ValueError("negative offset or length")
    return reference


@record
class Outside:
    """The files that a model's references lead to.

    Attributes:
        folder: The folder that all locations are relative to once they are resolved.
        files: Path of each external data file, and what tells that it has not changed.
    """

    folder: Path
    files: tuple[tuple[Path, tuple[int, int, int]], ...]


def resolve_references(proto: ModelProto, path: Path, size: int, allowed: Sequence[Path] = ()) -> Outside:
    """Check every reference and give each the real file that it means, the model itself among them.

    Args:
        proto: The structure; the locations in it are changed.
        path: The .onnx file.
        size: Its size in bytes.
        allowed: Folders that links to external data may lead into.

    Raises:
        ModelError: A reference that is malformed, too short, or leads where it must not.
    """
    real = path.resolve()
    found: dict[str, tuple[Path, os.stat_result]] = {}
    pending: list[tuple[StringStringEntryProto, Path]] = []
    for tensor in iterate_tensors(proto):
        expected = _byte_length(tensor, path)
        if tensor.data_location != EXTERNAL:
            held = _held_bytes(tensor)
            if None not in (expected, held) and held != expected:
                raise ModelError(
                    f"{path} is damaged: tensor {tensor.name!r} has {held} bytes where its shape needs {expected}",
                    NOT_ONNX,
                )
            continue
        try:
            reference = read_reference(tensor)
        except (KeyError, ValueError):
            raise ModelError(f"{path}: the external data of tensor {tensor.name!r} is malformed", NOT_ONNX) from None
        inside = reference.location == SELF
        if not inside and reference.location not in found:
            found[reference.location] = _find_external(path, reference.location, allowed)
        target, available = real, size
        if not inside:
            target, available = found[reference.location][0], found[reference.location][1].st_size
        pending.append((next(e for e in tensor.external_data if e.key == "location"), target))
        length = reference.length if reference.length >= 0 else expected
        if expected is None or length != expected:
            raise ModelError(
                f"{path} is damaged: tensor {tensor.name!r} has {length} bytes where its shape needs {expected}",
                NOT_ONNX,
            )
        if reference.offset + expected > available:
            raise ModelError(
                f"{path}: tensor {tensor.name!r} reaches to byte {reference.offset + expected} of "
                f"{real.name if inside else reference.location}, which has {available}",
                "the external data file is truncated or belongs to another model",
            )
    # onnxruntime reads below one folder: the nearest that holds the model and all that its links lead to.
    folder = Path(os.path.commonpath([real.parent, *(target.parent for target, _ in found.values())]))
    for entry, target in pending:
        try:
            entry.value = target.relative_to(folder).as_posix()
        except ValueError:
            raise ModelError(f"the name of {path} is not UTF-8, which an .onnx needs", "rename the file") from None
    return Outside(folder, tuple((target, identify_file(status)) for target, status in found.values()))


def _find_external(path: Path, location: str, allowed: Sequence[Path]) -> tuple[Path, os.stat_result]:
    """An external data file that is safe to read, its links followed; the rules of onnx.checker and two more."""
    where = Path(location)
    hint = "keep external data beside the model as a plain file, or save the model as one file"
    if not location or "\0" in location:
        raise ModelError(f"{path}: an external data location is empty or malformed", hint)
    if where.is_absolute() or ".." in where.parts or "\\" in location or ":" in location:
        raise ModelError(f"{path}: external data {location!r} points outside the model's folder", hint)
    here = path.parent / where
    try:
        target = here.resolve(strict=True)
        status = target.stat()
    except (OSError, RuntimeError):
        raise ModelError(f"{path}: external data file {location!r} is missing", f"put it in {path.parent}") from None
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{path}: external data {location!r} is not a plain file", hint)
    if any(target.is_relative_to(folder.resolve()) for folder in allowed):
        return target, status
    named = f"if you trust that folder, allow links into it: --allow-links {target.parent}"
    steps = [path.parent.joinpath(*where.parts[: n + 1]) for n in range(len(where.parts))]
    # A cache of models lays the model and its data behind links of one kind, into one folder.
    home = path.resolve().parent
    alike = path.is_symlink() and target.parent == home
    linked = any(step.is_symlink() for step in steps)
    # What lies in the model's own folder could be named without a link as well.
    if linked and not alike and not target.is_relative_to(home):
        raise ModelError(f"{path}: external data {location!r} is behind a symbolic link", named)
    if status.st_nlink > 1:
        raise ModelError(f"{path}: external data {location!r} is behind a hard link", named)
    if target.parent != home / where.parent and not alike and not linked:
        raise ModelError(f"{path}: external data {location!r} does not lie beside the model's own file", named)
    return target, status


def identify_file(status: os.stat_result) -> tuple[int, int, int]:
    """What changes when a file is written again: (inode, size in bytes, time of change in nanoseconds)."""
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def _byte_length(tensor: TensorProto, path: Path) -> int | None:
    """Bytes that dims and dtype ask for; None for types without a fixed size, which are texts."""
    count = 1
    for size in tensor.dims:
        if size < 0:
            raise ModelError(f"{path} is damaged: tensor {tensor.name!r} has a negative size", NOT_ONNX)
        count *= size
    if find_numpy_type(tensor.data_type) is None:
        raise ModelError(f"{path}: tensor {tensor.name!r} has an unknown data type ({tensor.data_type})")
    return find_byte_count(tensor.data_type, count)


def _held_bytes(tensor: TensorProto) -> int | None:
    """Bytes of values in the tensor itself; None for types whose values are packed."""
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    if tensor.data_type in _TYPED:
        name, size = _TYPED[tensor.data_type]
        return len(getattr(tensor, name)) * size
    return None


_TYPED: dict[int, tuple[str, int]] = {
    onnx.TensorProto.FLOAT: ("float_data", 4),
    onnx.TensorProto.DOUBLE: ("double_data", 8),
    onnx.TensorProto.FLOAT16: ("int32_data", 2),
    onnx.TensorProto.BFLOAT16: ("int32_data", 2),
    onnx.TensorProto.BOOL: ("int32_data", 1),
    onnx.TensorProto.INT8: ("int32_data", 1),
    onnx.TensorProto.UINT8: ("int32_data", 1),
    onnx.TensorProto.INT16: ("int32_data", 2),
    onnx.TensorProto.UINT16: ("int32_data", 2),
    onnx.TensorProto.INT32: ("int32_data", 4),
    onnx.TensorProto.UINT32: ("uint64_data", 4),
    onnx.TensorProto.INT64: ("int64_data", 8),
    onnx.TensorProto.UINT64: ("uint64_data", 8),
}
"""By data type: the field that holds the values where they are not raw, and the size of one."""
