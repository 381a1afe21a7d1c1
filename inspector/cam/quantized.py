"""Layers that a quantised file holds as integers: the numbers that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.graph import Graph, operator_of
from inspector.records import record

Array = NDArray[Any]


@record
class Quantization:
    """real = (integer - zero) * scale: one scale and zero point for the whole tensor."""

    scale: float = 1.0
    zero: int = 0

    def to_real(self, value: Array) -> Array:
        """What the integers stand for, float32; floats as they are."""
        if value.dtype.kind not in "iu":
            return value
        return (value.astype(np.float32) - np.float32(self.zero)) * np.float32(self.scale)

    def to_stored(self, value: Array, kind: np.dtype[Any]) -> Array:
        """Real numbers as a tensor of this type holds them."""
        if kind.kind not in "iu":
            return np.ascontiguousarray(value, kind)
        info = np.iinfo(kind)
        stored = np.clip(np.rint(value / np.float32(self.scale)) + self.zero, info.min, info.max)
        return np.asarray(stored, kind)


def find_quantization(graph: Graph, tensor: str) -> Quantization:
    """The scale and zero point of a tensor of integers; 1 and 0 where the file gives none as constants."""
    name = tensor
    while (i := graph.producer_of.get(name)) is not None:
        node = graph.nodes[i]
        row = operator_of(node)
        if row.keeps_scale:
            name = node.input[0]
            continue
        at = row.output_scale
        given = list(node.input[at : at + 2]) if at is not None else []
        if not given or any(n and n not in graph.initializers for n in given):
            break
        values = [graph.weight(n) for n in given if n]
        if any(value.size != 1 for value in values):
            break
        return Quantization(float(values[0].reshape(())), int(values[1].reshape(())) if len(values) > 1 else 0)
    return Quantization()
