"""Element types: ONNX's numbers, numpy's arrays and torch's tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

_T = onnx.TensorProto

DTYPES: dict[int, torch.dtype] = {
    _T.FLOAT: torch.float32,
    _T.UINT8: torch.uint8,
    _T.INT8: torch.int8,
    _T.UINT16: torch.uint16,
    _T.INT16: torch.int16,
    _T.INT32: torch.int32,
    _T.INT64: torch.int64,
    _T.BOOL: torch.bool,
    _T.FLOAT16: torch.float16,
    _T.DOUBLE: torch.float64,
    _T.UINT32: torch.uint32,
    _T.UINT64: torch.uint64,
    _T.COMPLEX64: torch.complex64,
    _T.COMPLEX128: torch.complex128,
    _T.BFLOAT16: torch.bfloat16,
    _T.FLOAT8E4M3FN: torch.float8_e4m3fn,
    _T.FLOAT8E4M3FNUZ: torch.float8_e4m3fnuz,
    _T.FLOAT8E5M2: torch.float8_e5m2,
    _T.FLOAT8E5M2FNUZ: torch.float8_e5m2fnuz,
}
"""torch's type for each ONNX element type that torch can hold; strings and 4-bit types it cannot."""

_BY_BITS: dict[str, tuple[torch.dtype, type[np.generic]]] = {
    "bfloat16": (torch.bfloat16, np.int16),
    "float8_e4m3fn": (torch.float8_e4m3fn, np.uint8),
    "float8_e4m3fnuz": (torch.float8_e4m3fnuz, np.uint8),
    "float8_e5m2": (torch.float8_e5m2, np.uint8),
    "float8_e5m2fnuz": (torch.float8_e5m2fnuz, np.uint8),
}
"""Types that numpy knows from ml_dtypes only, and the type of the same size that carries their bits across."""

WIDE_UNSIGNED = frozenset({torch.uint16, torch.uint32, torch.uint64})
"""Types that torch stores but hardly computes with; they are computed as int64."""


def to_tensor(array: NDArray[Any]) -> Tensor:
    """A torch copy of any numeric array, ml_dtypes' bfloat16 and float8 included.

    Raises:
        TypeError: For strings.
    """
    known = _BY_BITS.get(array.dtype.name)
    if known is not None:
        return torch.from_numpy(np.array(array.view(known[1]))).view(known[0])
    if array.dtype.name in ("int4", "uint4", "int2", "uint2"):  # the same numbers, in the bytes that torch has
        array = array.astype(np.int8 if array.dtype.name.startswith("i") else np.uint8)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"torch has no type for {array.dtype.name}")
    return torch.from_numpy(np.array(array, array.dtype.newbyteorder("=")))


def to_array(tensor: Tensor) -> NDArray[Any]:
    """A numpy copy of a tensor; bfloat16 and float8 in the types of ml_dtypes."""
    import ml_dtypes

    tensor = tensor.detach().cpu().contiguous()
    for name, (dtype, bits) in _BY_BITS.items():
        if tensor.dtype == dtype:
            carrier = torch.int16 if bits is np.int16 else torch.uint8
            return tensor.view(carrier).numpy().copy().view(getattr(ml_dtypes, name))
    return tensor.numpy().copy()


def to_numpy_dtype(name: str) -> np.dtype[Any]:
    """numpy's type of this name; bfloat16 and float8 are ml_dtypes'."""
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name) if name in _BY_BITS else name)
