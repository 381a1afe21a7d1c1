"""A network in half precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from onnx import NodeProto

from exporters.quantizing.quantizable import QuantizableGraph, QuantizeError, assemble
from inspector.graph import infer_types, node_inputs
from inspector.graph.nodes import GRAPHS, iterate_with_bodies

_SMALL = 64
"""Elements of the largest constant that is copied for each reading."""


def convert_to_half(network: QuantizableGraph) -> onnx.ModelProto:
    """Convert a network to half precision with onnxruntime's own converter; its input and scores stay in single."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    network = _part_constants(network)
    single = _name_single(network)
    proto = assemble(network, network.nodes, network.weights)
    named = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    del proto.graph.value_info[:]
    proto.graph.value_info.extend({v.name: v for v in infer_types(proto) if v.name not in named}.values())
    converted: onnx.ModelProto = convert_float_to_float16(
        proto, keep_io_types=True, disable_shape_infer=True, node_block_list=single
    )
    _cast_for_bodies(converted, set(single))
    del converted.graph.value_info[:]
    _sort(converted)
    return converted


def _name_single(network: QuantizableGraph) -> list[str]:
    """Name the operators that stay in single whole: a body of theirs has an operator that takes no half.

    The converter keeps such an operator (a suppression in a branch of an If) in single only outside bodies.
    """
    from onnxruntime.transformers.float16 import ALWAYS_FLOAT_INPUTS, DEFAULT_OP_BLOCK_LIST

    single = {*DEFAULT_OP_BLOCK_LIST, *ALWAYS_FLOAT_INPUTS}
    names = []
    for i, node in enumerate(network.nodes):
        inside = list(iterate_with_bodies([node]))[1:]
        if any(child.op_type in single for child in inside):
            if not node.name or sum(other.name == node.name for other in network.nodes) > 1:
                node.name = f"{node.name}/single/{i}"
            names.append(node.name)
    return names


def _cast_for_bodies(proto: onnx.ModelProto, single: set[str]) -> None:
    """Let the bodies of these operators read in single what they take from outside and is half now."""
    if not single:
        return
    half = {t.name for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
    half |= {v.name for v in proto.graph.value_info if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16}
    half -= {value.name for value in (*proto.graph.input, *proto.graph.output)}
    casts: dict[str, str] = {}
    for node in proto.graph.node:
        if node.name not in single:
            continue
        casts |= {name: f"{name}/single" for name in node_inputs(node) if name in half and name not in node.input}
        _read_others(node, casts)
    proto.graph.node.extend(
        onnx.helper.make_node("Cast", [name], [new], to=onnx.TensorProto.FLOAT) for name, new in sorted(casts.items())
    )


def _read_others(node: NodeProto, casts: dict[str, str]) -> None:
    """Let the bodies of a node read other tensors; their own names are never those of tensors outside."""
    for child in iterate_with_bodies([node]):
        if child is not node:
            for i, name in enumerate(child.input):
                child.input[i] = casts.get(name, name)
        for attribute in child.attribute:
            for body in (attribute.g, *attribute.graphs) if attribute.type in GRAPHS else ():
                for value in body.output:
                    value.name = casts.get(value.name, value.name)


def _part_constants(network: QuantizableGraph) -> QuantizableGraph:
    """Give each reading of a small float constant a copy of its own.

    Where one reading stays in single precision (the scales of Resize) and another does not, the converter puts a cast
    behind the constant, and the runtime refuses scales that are computed. Big tensors are weights, which all take part.
    """
    nodes, weights = [NodeProto.FromString(node.SerializeToString()) for node in network.nodes], dict(network.weights)
    parted = replace(network, nodes=nodes, weights=weights)
    seen: set[str] = set()
    for node in nodes:
        for i, name in enumerate(node.input):
            array = weights.get(name)
            if array is None or array.dtype != np.float32 or array.size > _SMALL:
                continue
            if name in seen:
                node.input[i] = parted.free_name(f"{name}/copy")
                weights[node.input[i]] = array
            seen.add(name)
    return parted


def _sort(proto: onnx.ModelProto) -> None:
    """Bring each node behind what it reads, and leaves them as they are otherwise; the converter appends its casts."""
    nodes = list(proto.graph.node)
    maker = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    readings = sum(len(node.input) for node in nodes)
    done: dict[int, None] = {}
    for start in range(len(nodes)):
        stack = [start]
        while stack:
            waiting = [maker[n] for n in node_inputs(nodes[stack[-1]]) if n in maker and maker[n] not in done]
            if waiting:
                stack += waiting
            else:
                done[stack.pop()] = None
            if len(stack) > readings + 1:
                raise QuantizeError("the converter made a graph with a circle in it", "use --to int8")
    copies = [NodeProto.FromString(nodes[i].SerializeToString()) for i in done]
    del proto.graph.node[:]
    proto.graph.node.extend(copies)
