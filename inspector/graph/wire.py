"""Scanning an .onnx file at the level of protobuf's wire format: large tensors become references into the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from inspector import onnx
from inspector.errors import ModelError

INLINE_LIMIT = 1024
"""Tensors of at most this many bytes (shapes, scalars, small biases) stay in the structure."""
MAX_STRUCTURE_BYTES = 256 * 1024 * 1024
"""A structure without its weights that is larger than this is not a network."""
# Field numbers of onnx.proto3; https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
_MODEL_GRAPH, MODEL_METADATA = 7, 14
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_ATTRIBUTE, _ATTRIBUTE_TENSOR = 5, 5
_TENSOR_FLOATS, _TENSOR_RAW, _TENSOR_DOUBLES = 4, 9, 10
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
EXTERNAL = onnx.TensorProto.EXTERNAL
SELF = "\0self"  # marks a reference into the .onnx itself while scanning; no file can have this name
# Recursion plan of the scanner: field number -> plan of the message in it; None marks a TensorProto.
_TENSOR: None = None
_Plan = dict[int, Any]
_ATTRIBUTE: _Plan = {_ATTRIBUTE_TENSOR: _TENSOR}
_NODE: _Plan = {_NODE_ATTRIBUTE: _ATTRIBUTE}
_GRAPH: _Plan = {_GRAPH_NODE: _NODE, _GRAPH_INITIALIZER: _TENSOR}
_MODEL: _Plan = {_MODEL_GRAPH: _GRAPH}
NOT_ONNX = "export it again, or give another file"


def _varint(view: memoryview, at: int, end: int, path: Path) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ModelError(f"{path} is not an ONNX model, or is damaged (byte {at})", NOT_ONNX)


def scan_fields(view: memoryview, at: int, end: int, path: Path) -> Iterator[tuple[int, int, int, int, int]]:
    """(field number, wire type, start of the field, start of its payload, end) of each field of a message."""
    while at < end:
        start = at
        key, at = _varint(view, at, end, path)
        number, wire = key >> 3, key & 7
        if wire == 2:
            length, at = _varint(view, at, end, path)
            stop = at + length
        elif wire == 0:
            _, stop = _varint(view, at, end, path)
        elif wire in (1, 5):
            stop = at + (8 if wire == 1 else 4)
        else:
            raise ModelError(f"{path} is not an ONNX model, or is damaged (byte {start})", NOT_ONNX)
        if stop > end:
            what = "is truncated" if end == len(view) else "is not an ONNX model, or is damaged"
            raise ModelError(f"{path} {what}: it ends {stop - end} bytes early at byte {start}", NOT_ONNX)
        if number == 0:
            raise ModelError(f"{path} is not an ONNX model, or is damaged (byte {start})", NOT_ONNX)
        yield number, wire, start, at, stop
        at = stop


def scan_model(view: memoryview, path: Path) -> bytes:
    """The model's bytes with every large tensor payload replaced by a reference into the file."""
    out = bytearray()
    _rewrite(view, 0, len(view), _MODEL, out, path)
    return bytes(out)


def _rewrite(view: memoryview, start: int, end: int, plan: _Plan, out: bytearray, path: Path) -> None:
    for number, wire, begin, body, stop in scan_fields(view, start, end, path):
        if wire != 2 or number not in plan or stop - body <= INLINE_LIMIT:
            out += view[begin:stop]
        else:
            inner = bytearray()
            child = plan[number]
            if child is None:
                _rewrite_tensor(view, body, stop, inner, path)
            else:
                _rewrite(view, body, stop, child, inner, path)
            out += encode_message(number, inner)
        if len(out) > MAX_STRUCTURE_BYTES:
            raise ModelError(f"{path} has more than 256 MB of structure besides its weights", NOT_ONNX)


def _rewrite_tensor(view: memoryview, start: int, end: int, out: bytearray, path: Path) -> None:
    fields = list(scan_fields(view, start, end, path))
    payloads = [field for field in fields if _is_payload(*field)]
    raw = [field for field in payloads if field[0] == _TENSOR_RAW]
    found = raw or payloads
    # Numbers in several pieces, which protobuf allows and nobody writes, stay as they are.
    if len(found) != 1 or _lies_outside(view, fields, path):
        out += view[start:end]
        return
    [payload] = found
    for number, _, begin, _, stop in fields:
        # Where the values lie is said anew: writers may have said "in this file", the default, in so many words.
        if (begin, stop) != (payload[2], payload[4]) and number not in (_TENSOR_EXTERNAL, _TENSOR_LOCATION):
            out += view[begin:stop]
    _, _, _, body, stop = payload
    # Packed float_data and double_data are little-endian arrays, exactly as raw_data is.
    for key, value in (("location", SELF), ("offset", body), ("length", stop - body)):
        entry = onnx.StringStringEntryProto(key=key, value=str(value))
        out += encode_message(_TENSOR_EXTERNAL, entry.SerializeToString())
    out += bytes(((_TENSOR_LOCATION << 3), EXTERNAL))


def _is_payload(number: int, wire: int, begin: int, body: int, stop: int) -> bool:
    return number in (_TENSOR_RAW, _TENSOR_FLOATS, _TENSOR_DOUBLES) and wire == 2 and stop - body > INLINE_LIMIT


def _lies_outside(view: memoryview, fields: Sequence[tuple[int, int, int, int, int]], path: Path) -> bool:
    """Whether the tensor says that its values lie in another file; of a field said twice, protobuf takes the last."""
    said = [_varint(view, body, stop, path)[0] for number, wire, _, body, stop in fields
            if number == _TENSOR_LOCATION and wire == 0]  # fmt: skip
    return bool(said) and said[-1] == EXTERNAL


def encode_message(number: int, payload: bytes | bytearray) -> bytes:
    """A field of wire type 2: its key, its length, its payload."""
    return _encode((number << 3) | 2) + _encode(len(payload)) + payload


def _encode(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
