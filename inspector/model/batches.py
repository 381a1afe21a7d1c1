"""Running a graph whose number of pictures is fixed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.layers import Layer
from inspector.runtime import Sessions


def run_in_batches(
    sessions: Sessions,
    name: str,
    tensor: NDArray[Any],
    tensors: Sequence[str],
    batch: int | None,
    layers: Sequence[Layer] = (),
) -> dict[str, NDArray[Any]]:
    """Compute tensors for any number of pictures, in pieces of the size that the graph fixes.

    Args:
        sessions: The sessions of the graph.
        name: Name of the graph's input.
        tensor: The input tensor, of N pictures.
        tensors: Names of the tensors to compute.
        batch: Number of pictures that the graph takes at a time; None means any number.
        layers: The layers, of which some may hold their pictures on another axis, or several rows for each.

    Returns:
        Tensor name -> array of N rows. What has no row for each picture is given for each piece in turn.
    """
    if batch is None or len(tensor) == batch:
        return sessions.run({name: tensor}, tensors)
    places = {x.tensor: (x.arrangement.batch, x.arrangement.parts) for x in layers if x.arrangement is not None}
    parts: list[dict[str, NDArray[Any]]] = []
    for start in range(0, len(tensor), batch):
        piece = tensor[start : start + batch]
        padded = np.concatenate([piece, np.repeat(piece[-1:], batch - len(piece), axis=0)])
        values = sessions.run({name: np.ascontiguousarray(padded)}, tensors)
        parts.append({k: _cut(v, len(piece), batch, *places.get(k, (0, 1))) for k, v in values.items()})
    if len(parts) == 1:
        return parts[0]
    return {k: np.concatenate([p[k] for p in parts], places.get(k, (0, 1))[0]) for k in tensors}


def _cut(value: NDArray[Any], pictures: int, batch: int, axis: int, rows: int) -> NDArray[Any]:
    """What the first pictures of a batch have of a tensor; all of it where it has no rows for them."""
    if not value.ndim or value.shape[axis] != batch * rows or pictures == batch:
        return value
    return value.take(range(pictures * rows), axis)
