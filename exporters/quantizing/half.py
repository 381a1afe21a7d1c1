"""A network in half precision."""

from __future__ import annotations

import onnx
from onnx import NodeProto

from exporters.quantizing.quantizable import QuantizableGraph, QuantizeError, assemble
from inspector.graph import infer_types, node_inputs


def convert_to_half(network: QuantizableGraph) -> onnx.ModelProto:
    """Convert a network to half precision with onnxruntime's own converter; its input and scores stay in single."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    proto = assemble(network, network.nodes, network.weights)
    named = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    del proto.graph.value_info[:]
    proto.graph.value_info.extend({v.name: v for v in infer_types(proto) if v.name not in named}.values())
    converted: onnx.ModelProto = convert_float_to_float16(proto, keep_io_types=True, disable_shape_infer=True)
    del converted.graph.value_info[:]
    _sort(converted)
    return converted


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
