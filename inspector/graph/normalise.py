"""One form of graph for everything that reads one: local functions inlined, Constant nodes as initializers."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from inspector import onnx
from inspector.errors import ModelError
from inspector.graph.nodes import GRAPHS, is_standard, iterate_with_bodies, node_inputs
from inspector.graph.wire import NOT_ONNX

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

MAX_NODES = 200_000
"""Nodes that local functions may expand to; the largest networks of pictures have some thousands."""


def normalise_model(proto: ModelProto, path: Path) -> ModelProto:
    """Local functions inlined, Constant nodes as initializers: one form for everything that reads a graph."""
    if proto.functions:
        proto = _inline_functions(proto, path)
    _sort(proto.graph)
    nodes = []
    copies: dict[str, str] = {}
    constants = {t.name for t in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Identity" and len(node.input) == len(node.output) == 1 and node.input[0] in constants:
            # Exporters that share equal weights write the sharing as Identity nodes.
            copies[node.output[0]] = copies.get(node.input[0], node.input[0])
            constants.add(node.output[0])
        constant = _read_constant(node) if node.op_type == "Constant" and is_standard(node) else None
        if constant is None:
            nodes.append(node)
        else:
            proto.graph.initializer.append(constant)
            constants.add(constant.name)
    for node in nodes if copies else ():
        for k, name in enumerate(node.input):
            node.input[k] = copies.get(name, name)
    if len(nodes) != len(proto.graph.node):
        kept = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
        del proto.graph.node[:]
        proto.graph.node.extend(kept)
    return proto


def _sort(graph: GraphProto) -> None:
    """Put nodes behind those that they read from, as onnxruntime does; the order is kept where it is right.

    What nothing makes, and circles, are left for the check.
    """
    for node in graph.node:
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs) if attribute.type in GRAPHS else ():
                _sort(body)
    maker = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    reads = [[maker[name] for name in node_inputs(node) if name in maker] for node in graph.node]
    if all(source < i for i, sources in enumerate(reads) for source in sources):
        return
    waiting = [len(sources) for sources in reads]
    readers: dict[int, list[int]] = {}
    for i, sources in enumerate(reads):
        for source in sources:
            readers.setdefault(source, []).append(i)
    ready = [i for i, count in enumerate(waiting) if not count]
    heapify(ready)
    order = []
    while ready:
        order.append(heappop(ready))
        for reader in readers.get(order[-1], ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                heappush(ready, reader)
    if len(order) == len(graph.node):
        nodes = [onnx.NodeProto.FromString(graph.node[i].SerializeToString()) for i in order]
        del graph.node[:]
        graph.node.extend(nodes)


def _inline_functions(proto: ModelProto, path: Path) -> ModelProto:
    """The same with every call of a local function replaced by the nodes of the function, named after the call."""
    from onnx import inliner

    _check_functions(proto, path)
    functions = {(f.domain, f.name) for f in proto.functions}
    calls: dict[str, str] = {}
    own: set[str] = set()
    for node in proto.graph.node:
        if (node.domain, node.op_type) in functions:
            calls.update(dict.fromkeys(node.output, node.name or node.op_type))
        else:
            own.update(node.output)
    try:
        flat: ModelProto = inliner.inline_local_functions(proto)
    except Exception as error:  # a C++ error type of the onnx package
        raise ModelError(f"{path}: its local functions cannot be expanded: {error}") from None
    pending: list[NodeProto] = []
    for node in flat.graph.node:
        if own.intersection(node.output):
            pending.clear()
            continue
        pending.append(node)
        if call := next((calls[name] for name in node.output if name in calls), None):
            for inner in pending:
                inner.name = f"{call}/{inner.op_type}"
            pending.clear()
    return flat


def _check_functions(proto: ModelProto, path: Path) -> None:
    """Refuse functions that call themselves, and those that forty lines of text blow up to 2^40 nodes."""
    bodies = {(f.domain, f.name): list(f.node) for f in proto.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Iterable[NodeProto], calling: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in bodies and key not in sizes:
                if key in calling or len(calling) > 100:
                    raise ModelError(f"{path} is damaged: local function {node.op_type!r} calls itself", NOT_ONNX)
                sizes[key] = size(iterate_with_bodies(bodies[key]), (*calling, key))
            total += sizes.get(key, 1)
        if total > MAX_NODES:
            raise ModelError(f"{path} has local functions that expand to more than {MAX_NODES} nodes", NOT_ONNX)
        return total

    size(iterate_with_bodies(proto.graph.node), ())


def _read_constant(node: NodeProto) -> TensorProto | None:
    from onnx import helper, numpy_helper

    if len(node.attribute) != 1 or len(node.output) != 1:
        return None
    attribute = node.attribute[0]
    tensor = onnx.TensorProto()
    if attribute.name == "value":
        tensor.CopyFrom(attribute.t)
    elif attribute.name in ("value_float", "value_floats"):
        tensor = numpy_helper.from_array(np.array(helper.get_attribute_value(attribute), np.float32))
    elif attribute.name in ("value_int", "value_ints"):
        tensor = numpy_helper.from_array(np.array(helper.get_attribute_value(attribute), np.int64))
    else:
        return None
    tensor.name = node.output[0]
    return tensor
