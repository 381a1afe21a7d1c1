"""The constants of a graph that is being cut: taken from the file, sliced, and named."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper

from inspector.graph import Graph, node_inputs

Array = NDArray[Any]


class CutWeights:
    """The constants of one graph, each kept as it is until something of it is cut.

    Args:
        graph: The graph that is cut.
        computed: What nodes of it compute from constants alone, by tensor.
    """

    def __init__(self, graph: Graph, computed: Mapping[str, Array]) -> None:
        self.graph = graph
        self.computed = computed
        self.made: dict[str, Array] = {}
        self.nodes: list[NodeProto] = []
        self._known: dict[Hashable, str] = {}
        self._uses = Counter(name for node in graph.nodes for name in node_inputs(node))
        self._taken = {n for node in graph.nodes for n in (*node_inputs(node), *node.output)}
        self._taken |= graph.initializers.keys()

    def free_name(self, name: str) -> str:
        """A name like `name` that nothing has."""
        found = next(n for k in itertools.count(1) if (n := f"{name}/slim{k if k > 1 else ''}") not in self._taken)
        self._taken.add(found)
        return found

    def holds(self, name: str) -> bool:
        """Whether a tensor is a constant as it is, or becomes one."""
        return name in self.graph.initializers or name in self.computed

    def value(self, name: str) -> Array:
        """The value of a constant, as it is before anything is cut."""
        return self.computed[name] if name in self.computed else np.asarray(self.graph.weight(name))

    def put(self, name: str, value: Array) -> str:
        """Add a constant.

        Args:
            name: What it is made from.
            value: Its value.

        Returns:
            Its name: that of what it is made from, where one input of one node is all that reads that.
        """
        value = np.ascontiguousarray(value).reshape(value.shape)
        key = (name, value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).digest())
        if key not in self._known:
            single = self._uses[name] == 1 and name not in self.made and name not in self.graph.outputs
            self._known[key] = name if single and self.holds(name) else self.free_name(name)
            self.made[self._known[key]] = value
        return self._known[key]

    def slice(self, name: str, cuts: tuple[tuple[int, Array], ...], rows: tuple[int, int] | None = None) -> str:
        """Slice a constant, or what it is dequantized from.

        Args:
            name: The constant.
            cuts: Axis and the places that stay along it, one for each axis that is cut.
            rows: Axis and length of what has a scale for each place; None for the axis that is cut.

        Returns:
            The name of the slice.
        """
        if self.holds(name):
            value = self.value(name)
            for axis, places in cuts:
                value = np.take(value, places, axis=axis)
            return self.put(name, value)
        key = (name, tuple((axis, places.tobytes()) for axis, places in cuts))
        if key not in self._known:
            self._known[key] = self._slice_made(name, cuts)
        return self._known[key]

    def _slice_made(self, name: str, cuts: tuple[tuple[int, Array], ...]) -> str:
        """The node that makes a constant from others, on slices of them."""
        node = self.graph.nodes[self.graph.producer_of[name]]
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.output[0] = self.free_name(name)
        copy.name = ""
        if name in self.graph.outputs:  # its node stays as it is, and what it reads is no row of what it makes
            return self._gather(copy, cuts)
        copy.input[0] = self.slice(node.input[0], cuts)
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        for position, given in enumerate(node.input[1:], 1):
            if not self.holds(given):
                continue
            value = self.value(given)
            for cut, places in cuts:
                if value.ndim == 1 and value.size > 1 and cut == axis % self._rank(node.input[0]):
                    copy.input[position] = self.put(given, value[places])
        self.nodes.append(copy)
        return str(copy.output[0])

    def _gather(self, made: NodeProto, cuts: tuple[tuple[int, Array], ...]) -> str:
        """Nodes that make a constant whole, and take what stays of it."""
        self.nodes.append(made)
        name = str(made.output[0])
        for axis, places in cuts:
            index = self.free_name(name)
            self.made[index] = np.asarray(places, np.int64)
            whole, name = name, self.free_name(name)
            self.nodes.append(onnx.helper.make_node("Gather", [whole, index], [name], axis=axis))
        return name

    def _rank(self, name: str) -> int:
        """How many axes a constant has, or what is quantized or dequantized from one."""
        while not self.holds(name):
            name = self.graph.nodes[self.graph.producer_of[name]].input[0]
        return self.value(name).ndim

    def finish(self, name: str) -> TensorProto:
        """A constant as the file will hold it."""
        if name in self.made or name in self.computed:
            value = self.made[name] if name in self.made else self.computed[name]
            return numpy_helper.from_array(value, name)
        tensor = self.graph.initializers[name]
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            return tensor
        whole = TensorProto(name=name, data_type=tensor.data_type, dims=tensor.dims)
        # Packed as the file has it, where several values share a byte.
        whole.raw_data = numpy_helper.from_array(np.asarray(self.graph.tensor_array(tensor))).raw_data
        return whole
