"""Nodes written behind those of a network: fresh names, constants kept once, the forms of the operator set."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from inspector.graph import ATTACHED_PREFIX, Graph

Array = NDArray[Any]
_REDUCE_AXES_AS_INPUT = 18
"""First operator set in which every reduction takes its axes as an input; that of ReduceSum came with 13."""

ZERO = numpy_helper.from_array(np.zeros(1, np.float32))
"""What fills a new tensor."""


class GraphWriter:
    """Nodes that are going to stand behind those of a graph. No name of the graph is used again.

    Attributes:
        graph: The graph that is added to; it stays as it is.
        opset: Version of the default operator set.
        nodes: What was written, in topological order.
        constants: Values that it reads, by name.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.opset = graph.opset
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Array] = {}
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._count = itertools.count(1)
        self._taken = {*graph.producer_of, *graph.initializers, *(i.name for i in graph.inputs), *graph.outputs}

    def emit(self, op: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """Write a node with one output, and give the name of that."""
        [made] = self.emit_many(op, inputs, 1, out=out, **attributes)
        return made

    def emit_many(self, op: str, inputs: Sequence[str], count: int, out: str = "", **attributes: Any) -> list[str]:
        """Write a node with `count` outputs, and give their names; `out` names the first."""
        label = f"{ATTACHED_PREFIX}{op}_{next(self._count)}"
        outputs = [out or label, *(f"{label}_{k}" for k in range(1, count))]
        self.nodes.append(helper.make_node(op, list(inputs), outputs, name=label, **attributes))
        return outputs

    def list_needed(self, outputs: Iterable[str]) -> tuple[list[NodeProto], dict[str, Array]]:
        """The nodes that some outputs need, in their order, and the constants of these: runtimes run every node."""
        wanted, kept = set(outputs), []
        for node in reversed(self.nodes):
            if wanted.intersection(node.output):
                wanted.update(node.input)
                kept.append(node)
        return kept[::-1], {name: value for name, value in self.constants.items() if name in wanted}

    def find_free_name(self, name: str) -> str:
        """`name`, with a number behind it where a tensor is called so already; nobody else gets it afterwards."""
        free = next(n for k in itertools.count(1) if (n := name if k == 1 else f"{name}_{k}") not in self._taken)
        self._taken.add(free)
        return free

    def rename(self, tensor: str, name: str) -> bool:
        """Give what a node written here makes another name, wherever it stands; False where none of them makes it."""
        if not any(tensor in node.output for node in self.nodes):
            return False
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [name if known == tensor else known for known in names]
        return True

    def constant(self, value: Array) -> str:
        """The name of a constant; equal ones are written once."""
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            name = f"{ATTACHED_PREFIX}constant_{len(self._known)}"
            self._known[key] = name
            self.constants[name] = array
        return self._known[key]

    def ints(self, *numbers: int) -> str:
        """A row of whole numbers."""
        return self.constant(np.array(numbers, np.int64))

    def number(self, value: float) -> str:
        """One float32."""
        return self.constant(np.array(value, np.float32))

    def reduce(self, op: str, x: str, axes: Iterable[int], keep: bool = True) -> str:
        """Reduce axes, which are given as numbers."""
        listed, kept = list(axes), int(keep)
        if op == "ReduceSum" or self.opset >= _REDUCE_AXES_AS_INPUT:
            return self.emit(op, x, self.ints(*listed), keepdims=kept)
        return self.emit(op, x, axes=listed, keepdims=kept)

    def reshape(self, x: str, *sizes: int) -> str:
        """Reshape to fixed sizes: 0 keeps a length, -1 takes what is left."""
        return self.emit("Reshape", x, self.ints(*sizes))

    def reshape_like(self, x: str, other: str) -> str:
        """Reshape to the shape of another tensor."""
        return self.emit("Reshape", x, self.emit("Shape", other))

    def length(self, x: str, axis: int) -> str:
        """The length of an axis: int64 (1,)."""
        return self.emit("Gather", self.emit("Shape", x), self.ints(axis), axis=0)

    def zeros_like(self, x: str) -> str:
        """Zeros, float32, in the shape of a tensor."""
        return self.emit("ConstantOfShape", self.emit("Shape", x), value=ZERO)

    def to_float(self, x: str) -> str:
        """As float32."""
        return self.emit("Cast", x, to=TensorProto.FLOAT)

    def keep_where(self, condition: str, x: str) -> str:
        """`x` where the condition holds, 0 elsewhere."""
        return self.emit("Where", condition, x, self.number(0))
