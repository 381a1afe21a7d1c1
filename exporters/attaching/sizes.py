"""What is known of the shapes of tensors: what the file fixes, and what one picture has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from inspector.graph import HALF_TYPES, Graph, infer_types, read_shape

Lengths = tuple[int, ...]
_STORED = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)

Runner = Callable[[Sequence[str]], Mapping[str, NDArray[Any]]]
"""Names of tensors -> their values for one picture."""


class TensorSizes:
    """Shapes of the tensors of a graph.

    Args:
        graph: The graph.
        picture: The name of its input, and a shape that this may have.
        names: Tensors whose shape is going to be asked for.
        run: What tells the shapes that inference does not.
    """

    def __init__(self, graph: Graph, picture: tuple[str, Lengths], names: Sequence[str], run: Runner) -> None:
        self._fixed: dict[str, tuple[int | str | None, ...]] = {}
        self._whole: set[str] = set()
        self._half: set[str] = {t.name for t in graph.initializers.values() if t.data_type in HALF_TYPES}
        for value in infer_types(graph.proto):
            shape = read_shape(value)
            if shape is not None:
                self._fixed[value.name] = shape
            if value.type.tensor_type.elem_type in HALF_TYPES:
                self._half.add(value.name)
            elif value.type.tensor_type.elem_type in _STORED:
                self._whole.add(value.name)
        self._samples: dict[str, Lengths] = {name: tuple(t.dims) for name, t in graph.initializers.items()}
        self._fixed.update(self._samples)
        for value in infer_types(_with_input(graph, *picture)):
            shape = read_shape(value)
            if shape is not None and all(isinstance(size, int) for size in shape):
                self._samples[value.name] = tuple(int(size) for size in shape if isinstance(size, int))
        missing = [name for name in dict.fromkeys(names) if name and name not in self._samples]
        if missing:
            values = run(missing)
            self._samples.update((name, values[name].shape) for name in missing)
            self._whole.update(name for name in missing if values[name].dtype in (np.int8, np.uint8))

    def sample(self, name: str) -> Lengths:
        """The shape for one picture, or for as many as the file fixes."""
        return self._samples[name]

    def rank(self, name: str) -> int:
        """The number of axes."""
        return len(self._samples[name])

    def fixed(self, name: str) -> tuple[int | None, ...]:
        """The lengths that do not depend on what is fed; None for the others."""
        known = self._fixed.get(name)
        if known is None or len(known) != self.rank(name):
            return (None,) * self.rank(name)
        return tuple(size if isinstance(size, int) else None for size in known)

    def is_whole(self, name: str) -> bool:
        """Whether a tensor holds numbers as integers of 8 bits."""
        return name in self._whole

    def is_half(self, name: str) -> bool:
        """Whether a tensor is in half precision."""
        return name in self._half


def _with_input(graph: Graph, name: str, shape: Sequence[int]) -> onnx.ModelProto:
    """The structure of a graph for an input of one shape."""
    probe = onnx.ModelProto()
    probe.CopyFrom(graph.proto)
    probe.graph.ClearField("value_info")
    for value in probe.graph.input:
        if value.name == name:
            value.type.tensor_type.ClearField("shape")
            for size in shape:
                value.type.tensor_type.shape.dim.add().dim_value = size
    for value in probe.graph.output:
        value.type.tensor_type.ClearField("shape")
    return probe
