"""Which tensors of a network become integers, and on which grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from exporters.quantizing.calibration import Grid, calibrate, choose_grid
from exporters.quantizing.quantizable import Array, QuantizableGraph, QuantizeError, check_no_integers
from inspector.errors import UsageError
from inspector.graph import HALF_TYPES, attributes, operator_of
from inspector.layers.layout import infer_values
from inspector.model import Model


@dataclass
class IntegerPlan:
    """Everything that is needed to write the integer network, with any of its nodes left in float.

    Attributes:
        network: The float network.
        layer_of: The layer's name for each node that can compute with integers.
        grids: The grid of each tensor that may be quantized.
        means: float64 (C,), the mean by channel of each tensor that a node with weights reads.
        ends: For each such node the tensor behind its activation, where its integers are taken.
        bits: Bits of a weight, 8 or 7.
        inside: The tensors between such a node and its activation.
        tensors: The tensor of each layer of the source.
    """

    network: QuantizableGraph
    layer_of: dict[int, str]
    grids: dict[str, Grid]
    means: dict[str, NDArray[np.float64]]
    ends: dict[int, str]
    bits: int
    inside: frozenset[str]
    tensors: Mapping[str, str] = field(default_factory=dict)

    def nodes_of(self, layers: Iterable[str]) -> frozenset[int]:
        """Find the nodes that stay in float when these layers are kept.

        A layer without arithmetic of its own, such as an activation or a max pool, stands for the node that it comes
        from.

        Raises:
            UsageError: No integer node makes a layer, so that it would be kept in name only.
        """
        found: set[int] = set()
        for name in layers:
            nodes = {i for i, layer in self.layer_of.items() if layer == name} or self._find_maker(
                self.tensors.get(name)
            )
            if not nodes:
                raise UsageError(
                    f"the layer {name} cannot be kept in float: no integer arithmetic makes it",
                    "leave it out; it is in float as it is, or is made from several layers, which can be named",
                )
            found |= nodes
        return frozenset(found)

    def _find_maker(self, tensor: str | None) -> set[int]:
        """The integer node that a tensor comes from by activations and by what only moves values; empty for none."""
        made = self.network.makers()
        while tensor in made:
            if made[tensor] in self.ends:
                return {made[tensor]}
            node = self.network.nodes[made[tensor]]
            if operator_of(node).integer_form not in ("moved", "range"):
                break
            tensor = node.input[0]
        return set()


def _explain_nothing(source: Model) -> QuantizeError:
    """Why no node of the model can be computed with integers."""
    graph = source.graph
    check_no_integers(source)
    if any(tensor.data_type in HALF_TYPES for tensor in graph.initializers.values()):
        return QuantizeError(
            f"the weights of {source.path} are in half precision; integers are made of float32",
            "give the float32 model that it was made of",
        )
    return QuantizeError(
        f"{source.path} has no convolution or linear layer with constant float weights", "there is nothing to quantize"
    )


def plan_integers(
    source: Model, network: QuantizableGraph, tensors: Iterable[Array], count: int, reduce_range: bool
) -> IntegerPlan:
    """Choose what is computed with integers, and calibrate it.

    Args:
        source: The float model, which is run for the calibration.
        network: Its network, as `read_quantizable` gives it.
        tensors: Calibration inputs, float32 (1, C, H, W) each.
        count: How many of them there are.
        reduce_range: Whether weights take 7 bits instead of 8.

    Raises:
        QuantizeError: There is nothing to quantize.
    """
    readers, made = network.readers(), network.makers()
    types = {name: value.type.tensor_type.elem_type for name, value in infer_values(source.graph).items()}

    ends: dict[int, str] = {}
    wanted: dict[str, None] = {}
    means: dict[str, None] = {}
    inside: set[str] = set()
    for i, node in enumerate(network.nodes):
        if not _can_be_integer(network, node) or not _reads_floats(source, types, node):
            continue
        if operator_of(node).integer_form != "weights" and source.graph.counted.intersection(node.input):
            continue  # onnxruntime's integer joins end the process where they have no rows
        end, passed = follow_activation(network, readers, node.output[0])
        inside.update(passed)
        ends[i] = end
        data = [name for name in node.input if name and name not in network.weights]
        if operator_of(node).integer_form == "weights":
            data = [node.input[0]]
            means[node.input[0]] = None
        wanted.update(dict.fromkeys((*data, end)))
    if not any(operator_of(network.nodes[i]).integer_form == "weights" for i in ends):
        raise _explain_nothing(source)
    # Where a value is only moved, it stays on the grid it came from: what moves takes the first tensor's range.
    first: dict[str, str] = {}
    for node in network.nodes:
        if operator_of(node).integer_form == "moved" and node.output[0] in wanted:
            first[node.output[0]] = node.input[0]
            wanted.setdefault(node.input[0], None)
    ranges = calibrate(source, list(wanted), tensors, count)
    grids: dict[str, Grid] = {}
    for name in wanted:
        root = name
        while root in first and first[root] in ranges:
            root = first[root]
        grids[name] = choose_grid(ranges[root])
    for name in network.outputs:
        grids.pop(name, None)
    layer_of = _name_nodes(source, network, ends, made)
    found = {name: ranges[name].mean for name in means}
    tensors_of = {layer.name: layer.tensor for layer in source.layers}
    return IntegerPlan(network, layer_of, grids, found, ends, 7 if reduce_range else 8, frozenset(inside), tensors_of)


def _reads_floats(source: Model, types: Mapping[str, int], node: NodeProto) -> bool:
    """Whether what a node reads of the picture is float; graphs multiply sizes as well, which are integers."""
    seen = [name for name in node.input if name in source.graph.from_picture]
    return bool(seen) and all(types.get(name, TensorProto.FLOAT) == TensorProto.FLOAT for name in seen)


def _can_be_integer(network: QuantizableGraph, node: NodeProto) -> bool:
    """Whether the node can be computed with integers."""
    weights, form = network.weights, operator_of(node).integer_form
    if form == "weights":
        given = attributes(node)
        weight = weights.get(node.input[1])
        plain = given.get("alpha", 1.0) == 1.0 and given.get("beta", 1.0) == 1.0 and not given.get("transA", 0)
        bias = len(node.input) < 3 or not node.input[2] or node.input[2] in weights
        matrix = node.op_type != "MatMul" or (weight is not None and weight.ndim == 2)
        return bool(
            weight is not None and weight.dtype == np.float32 and plain and bias and matrix
            and node.input[0] not in weights
        )  # fmt: skip
    if form == "arithmetic":
        return (
            len(node.input) == 2 and not any(name in weights for name in node.input) and node.input[0] != node.input[1]
        )
    if form == "join":
        return len(node.input) > 1 and not any(name in weights for name in node.input)
    return form == "pool"


def follow_activation(
    network: QuantizableGraph, readers: Mapping[str, Sequence[int]], tensor: str
) -> tuple[str, list[str]]:
    """Find the tensor behind the ReLU or clip that alone reads `tensor`, and the tensors that lie before it.

    The runtime folds such an activation into the range of the integers.
    """
    passed = []
    while tensor not in network.outputs and len(readers.get(tensor, ())) == 1:
        node = network.nodes[readers[tensor][0]]
        constant = all(not name or name in network.weights for name in node.input[1:])
        if operator_of(node).integer_form != "range" or not constant:
            break
        passed.append(tensor)
        tensor = node.output[0]
    return tensor, passed


def _name_nodes(
    source: Model, network: QuantizableGraph, ends: Mapping[int, str], made: Mapping[str, int]
) -> dict[int, str]:
    """For each integer node the name of the layer that a person would name it by."""
    by_tensor = {layer.tensor: layer.name for layer in source.layers}
    named = {}
    for i, end in ends.items():
        node = network.nodes[i]
        named[i] = by_tensor.get(node.output[0]) or by_tensor.get(end) or node.name or node.output[0]
    return named
