"""Kinds of element types, by ONNX's own names."""

from __future__ import annotations

from typing import Any

import numpy as np

from inspector import onnx
from inspector.onnx import TensorProto

HALF_TYPES: frozenset[int] = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})
"""Floating-point types of 16 bits."""

FLOAT_TYPES: frozenset[int] = HALF_TYPES | {TensorProto.FLOAT, TensorProto.DOUBLE}
"""Floating-point types that networks compute in."""

FLOAT8_TYPES: frozenset[int] = frozenset(
    {TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E4M3FNUZ, TensorProto.FLOAT8E5M2, TensorProto.FLOAT8E5M2FNUZ}
)
"""Floating-point types of 8 bits."""

_BITS: dict[int, int] = {TensorProto.UINT4: 4, TensorProto.INT4: 4, TensorProto.FLOAT4E2M1: 4}
_BITS.update({getattr(TensorProto, name): 2 for name in ("UINT2", "INT2") if hasattr(TensorProto, name)})

SUB_BYTE_TYPES: frozenset[int] = frozenset(_BITS)
"""Types of 4 and 2 bits, several values to a byte."""


def find_byte_count(kind: int, count: int) -> int | None:
    """Bytes that `count` values of an element type take in a file; None where their size is not fixed, as of texts."""
    dtype = find_numpy_type(kind)
    if dtype is None or dtype.itemsize == 0 or dtype.kind == "O":
        return None
    return -(-count * _BITS.get(kind, 8 * dtype.itemsize) // 8)


_SAME = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "complex64")
_NUMPY_TYPES = {TensorProto.DataType.Value(name.upper()): np.dtype(name) for name in _SAME} | {
    TensorProto.FLOAT: np.dtype(np.float32),
    TensorProto.DOUBLE: np.dtype(np.float64),
}
"""The types that numpy itself has and networks are made of; for the others a package of its own must be imported."""


def find_numpy_type(kind: int) -> np.dtype[Any] | None:
    """numpy's type for an element type of ONNX; None for a number that is none, as damaged files hold."""
    if kind in _NUMPY_TYPES:
        return _NUMPY_TYPES[kind]
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind))
    except KeyError:
        return None
