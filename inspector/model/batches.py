"""Running a graph whose number of pictures is fixed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.runtime import Sessions


def run_in_batches(
    sessions: Sessions, name: str, tensor: NDArray[Any], tensors: Sequence[str], batch: int | None
) -> dict[str, NDArray[Any]]:
    """Compute tensors for any number of pictures, in pieces of the size that the graph fixes.

    Args:
        sessions: The sessions of the graph.
        name: Name of the graph's input.
        tensor: The input tensor, of N pictures.
        tensors: Names of the tensors to compute.
        batch: Number of pictures that the graph takes at a time; None means any number.

    Returns:
        Tensor name -> array of N rows. What has no row for each picture is given for each piece in turn.
    """
    if batch is None or len(tensor) == batch:
        return sessions.run({name: tensor}, tensors)
    parts: list[dict[str, NDArray[Any]]] = []
    for start in range(0, len(tensor), batch):
        piece = tensor[start : start + batch]
        padded = np.concatenate([piece, np.repeat(piece[-1:], batch - len(piece), axis=0)])
        values = sessions.run({name: np.ascontiguousarray(padded)}, tensors)
        parts.append({k: v[: len(piece)] if v.ndim and len(v) == batch else v for k, v in values.items()})
    return parts[0] if len(parts) == 1 else {k: np.concatenate([p[k] for p in parts]) for k in tensors}
