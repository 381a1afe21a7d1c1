"""Where the values of tensors lie: in the file itself or in external data beside it, checked before they are read."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from inspector.errors import ModelError
from inspector.graph.nodes import all_tensors
from inspector.graph.wire import EXTERNAL, NOT_ONNX, SELF

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto


@dataclass(frozen=True)
class _Reference:
    location: str
    offset: int
    length: int


def read_reference(tensor: TensorProto) -> _Reference:
    """Location, offset and length of an external tensor. Raises KeyError, ValueError where it is malformed."""
    entries = {e.key: e.value for e in tensor.external_data}
    reference = _Reference(entries["location"], int(entries.get("offset", 0)), int(entries.get("length", -1)))
    if reference.offset < 0 or reference.length < -1:
        raise ValueError("negative offset or length")
    return reference


def resolve_references(proto: ModelProto, path: Path, size: int) -> None:
    """Checks every reference and names the real file in those that point into the model itself."""
    real = path.resolve()
    checked: dict[str, int] = {}
    for tensor in all_tensors(proto):
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
        if inside:
            try:
                next(e for e in tensor.external_data if e.key == "location").value = real.name
            except ValueError:
                raise ModelError(f"the name of {path} is not UTF-8, which an .onnx needs", "rename the file") from None
            available = size
        else:
            if reference.location not in checked:
                checked[reference.location] = _external_size(path, reference.location)
            available = checked[reference.location]
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


def _external_size(path: Path, location: str) -> int:
    """Size in bytes of an external data file that is safe to read; the rules of onnx.checker and two more."""
    where = Path(location)
    hint = "keep external data beside the model as a plain file, or save the model as one file"
    if not location or "\0" in location:
        raise ModelError(f"{path}: an external data location is empty or malformed", hint)
    if where.is_absolute() or ".." in where.parts or "\\" in location or ":" in location:
        raise ModelError(f"{path}: external data {location!r} points outside the model's folder", hint)
    here = path.parent
    for part in where.parts:
        here = here / part
        if here.is_symlink():
            raise ModelError(f"{path}: external data {location!r} is behind a symbolic link", hint)
    try:
        status = here.stat()
    except OSError:
        raise ModelError(f"{path}: external data file {location!r} is missing", f"put it in {path.parent}") from None
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{path}: external data {location!r} is not a plain file", hint)
    if status.st_nlink > 1:
        raise ModelError(f"{path}: external data {location!r} is behind a hard link", hint)
    if here.resolve().parent != path.resolve().parent / where.parent:
        raise ModelError(f"{path}: external data {location!r} does not lie beside the model's own file", hint)
    return status.st_size


def _byte_length(tensor: TensorProto, path: Path) -> int | None:
    """Bytes that dims and dtype ask for; None for types without a fixed size (strings, 4-bit)."""
    count = 1
    for size in tensor.dims:
        if size < 0:
            raise ModelError(f"{path} is damaged: tensor {tensor.name!r} has a negative size", NOT_ONNX)
        count *= size
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except KeyError:
        raise ModelError(f"{path}: tensor {tensor.name!r} has an unknown data type ({tensor.data_type})") from None
    if dtype.itemsize == 0 or dtype.kind == "O" or tensor.data_type in _SUB_BYTE:
        return None
    return count * dtype.itemsize


def _held_bytes(tensor: TensorProto) -> int | None:
    """Bytes of values in the tensor itself; None for types whose values are packed."""
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    if tensor.data_type in _TYPED:
        name, size = _TYPED[tensor.data_type]
        return len(getattr(tensor, name)) * size
    return None


_TYPED = {
    1: ("float_data", 4), 2: ("int32_data", 1), 3: ("int32_data", 1), 4: ("int32_data", 2), 5: ("int32_data", 2),
    6: ("int32_data", 4), 7: ("int64_data", 8), 9: ("int32_data", 1), 10: ("int32_data", 2), 11: ("double_data", 8),
    12: ("uint64_data", 4), 13: ("uint64_data", 8), 16: ("int32_data", 2),
}  # fmt: skip
"""By data type: the field that holds the values where they are not raw, and the size of one."""
_SUB_BYTE = frozenset({21, 22, 23})  # UINT4, INT4, FLOAT4E2M1
