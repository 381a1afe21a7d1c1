"""One form of graph for everything that reads one: local functions inlined, Constant nodes as initializers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from inspector import onnx
from inspector.errors import ModelError
from inspector.graph.element_types import find_byte_count
from inspector.graph.nodes import GRAPHS, is_standard, iterate_with_bodies, node_inputs
from inspector.graph.wire import EXTERNAL, NOT_ONNX

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

MAX_NODES = 200_000
"""Nodes that local functions may expand to; the largest networks of pictures have some thousands."""
MAX_SPARSE_BYTES = 256 * 1024 * 1024
"""Bytes that all sparse tensors of a file may have with their zeros; a line of text may ask for any number."""


def normalise_model(proto: ModelProto, path: Path) -> ModelProto:
    """Local functions inlined, Constant nodes as initializers: one form for everything that reads a graph."""
    if proto.functions:
        proto = _inline_functions(proto, path)
    _shorten_domain(proto)
    _check_sparse(proto.graph, path)
    _fill_sparse(proto.graph, path)
    _part_bodies(proto.graph)
    _sort(proto.graph)
    nodes = []
    copies: dict[str, str] = {}
    constants = {t.name for t in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Identity" and len(node.input) == len(node.output) == 1 and node.input[0] in constants:
            # Exporters that share equal weights write the sharing as Identity nodes.
            copies[node.output[0]] = copies.get(node.input[0], node.input[0])
            constants.add(node.output[0])
        constant = _read_constant(node, path) if node.op_type == "Constant" and is_standard(node) else None
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


def _shorten_domain(proto: ModelProto) -> None:
    """Write the set of ONNX's own operators with its short name, "", where a file has the long one, "ai.onnx"."""
    known = {opset.domain for opset in proto.opset_import}
    for opset in proto.opset_import:
        if opset.domain == "ai.onnx" and "" not in known:
            opset.domain = ""
    for node in iterate_with_bodies(proto.graph.node):
        if node.domain == "ai.onnx":
            node.domain = ""


def _part_bodies(graph: GraphProto) -> None:
    """Give the tensors of each body names of their own: two branches may call theirs the same."""
    bodies = [body for node in graph.node for body in _list_bodies(node)]
    if not bodies:
        return
    taken = {name for node in graph.node for name in node.output} | {tensor.name for tensor in graph.initializer}
    taken |= {value.name for value in graph.input}
    for body in bodies:
        _part_body(body, {}, taken)


def _list_bodies(node: NodeProto) -> list[GraphProto]:
    return [
        body for a in node.attribute if a.type in GRAPHS for body in (*([a.g] if a.HasField("g") else ()), *a.graphs)
    ]


def _part_body(body: GraphProto, outer: Mapping[str, str], taken: set[str]) -> None:
    """Rename what a body makes where its name is taken; `outer` is what the bodies around it have renamed."""
    made = [value.name for value in body.input] + [tensor.name for tensor in body.initializer]
    made += [sparse.values.name for sparse in body.sparse_initializer]
    made += [name for node in body.node for name in node.output]
    names = {**outer, **{name: _make_unique(name, taken) for name in dict.fromkeys(made) if name}}
    holders = [*body.input, *body.output, *body.value_info, *body.initializer]
    for holder in (*holders, *(sparse.values for sparse in body.sparse_initializer)):
        holder.name = names.get(holder.name, holder.name)
    for node in body.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in _list_bodies(node):
            _part_body(inner, names, taken)


def _check_sparse(graph: GraphProto, path: Path) -> None:
    """Refuse sparse tensors that together need more memory than is safe, before the first gets its zeros."""
    found = list(graph.sparse_initializer)
    constants = (node for node in graph.node if node.op_type == "Constant" and is_standard(node))
    found += [a.sparse_tensor for node in constants for a in node.attribute if a.name == "sparse_value"]
    sizes = [find_byte_count(sparse.values.data_type, math.prod(sparse.dims)) or 0 for sparse in found]
    total = sum(size for size in sizes if size > 0)
    if total > MAX_SPARSE_BYTES:
        what = f"its {len(found)} sparse tensors are" if len(found) > 1 else "its sparse tensor is"
        raise ModelError(f"{path}: {what} {total:,} bytes with zeros", "save the file with all values before")


def _fill_sparse(graph: GraphProto, path: Path) -> None:
    """Turn sparse initializers into ordinary ones."""
    known = {tensor.name for tensor in graph.initializer}
    for sparse in graph.sparse_initializer:
        if sparse.values.name not in known:
            graph.initializer.append(_make_dense(sparse, sparse.values.name, path))
    del graph.sparse_initializer[:]


def _make_dense(sparse: SparseTensorProto, name: str, path: Path) -> TensorProto:
    from onnx import numpy_helper

    if EXTERNAL in (sparse.values.data_location, sparse.indices.data_location):
        raise ModelError(f"{path}: sparse tensor {name!r} lies in another file", "save it with all its values before")
    size = find_byte_count(sparse.values.data_type, math.prod(sparse.dims))
    if size is None or any(length < 0 for length in sparse.dims):
        what = "holds texts" if size is None else "has a length below 0"
        raise ModelError(f"{path}: sparse tensor {name!r} {what}", "save it with all its values before")
    try:
        values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
        dense = np.zeros(tuple(sparse.dims), values.dtype)
        # One number for each value, counted row by row, or one for each axis.
        places = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), dense.shape)
        if places.shape != values.shape or (places.size and places.min() < 0):
            raise ValueError("it has another number of places than of values")
        dense.reshape(-1)[places] = values
    except (ValueError, TypeError, IndexError) as error:
        raise ModelError(f"{path} is damaged: sparse tensor {name!r}: {error}", NOT_ONNX) from None
    return numpy_helper.from_array(dense, name)


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
    functions = {_function_key(f.domain, f.name, f.overload) for f in proto.functions}
    _fill_defaults(proto)
    calls: dict[str, str] = {}
    own: set[str] = set()
    taken: set[str] = set()
    for node in proto.graph.node:
        if _function_key(node.domain, node.op_type, node.overload) in functions:
            calls.update(dict.fromkeys(node.output, node.name or node.op_type))
        else:
            own.update(node.output)
            taken.add(node.name)
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
                inner.name = _make_unique(f"{call}/{inner.op_type}", taken)
            pending.clear()
    return flat


def _make_unique(name: str, taken: set[str]) -> str:
    """The name, with a number where it is taken: onnxruntime refuses a graph with two nodes of one name."""
    found, number = name, 0
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found


def _function_key(domain: str, name: str, overload: str) -> tuple[str, str, str]:
    return "" if domain == "ai.onnx" else domain, name, overload


def _fill_defaults(proto: ModelProto) -> None:
    """Write the default values of a function's attributes into its calls: the inliner leaves them out."""
    defaults = {_function_key(f.domain, f.name, f.overload): f.attribute_proto for f in proto.functions}
    bodies = [proto.graph.node, *(f.node for f in proto.functions)]
    for node in (node for body in bodies for node in iterate_with_bodies(body)):
        given = {attribute.name for attribute in node.attribute}
        for default in defaults.get(_function_key(node.domain, node.op_type, node.overload), ()):
            if default.name not in given:
                node.attribute.append(default)


def _check_functions(proto: ModelProto, path: Path) -> None:
    """Refuse functions that call themselves, and those that forty lines of text blow up to 2^40 nodes."""
    bodies = {_function_key(f.domain, f.name, f.overload): list(f.node) for f in proto.functions}
    sizes: dict[tuple[str, str, str], int] = {}

    def size(nodes: Iterable[NodeProto], calling: tuple[tuple[str, str, str], ...]) -> int:
        total = 0
        for node in nodes:
            key = _function_key(node.domain, node.op_type, node.overload)
            if key in bodies and key not in sizes:
                if key in calling or len(calling) > 100:
                    raise ModelError(f"{path} is damaged: local function {node.op_type!r} calls itself", NOT_ONNX)
                sizes[key] = size(iterate_with_bodies(bodies[key]), (*calling, key))
            total += sizes.get(key, 1)
        if total > MAX_NODES:
            raise ModelError(f"{path} has local functions that expand to more than {MAX_NODES} nodes", NOT_ONNX)
        return total

    size(iterate_with_bodies(proto.graph.node), ())


def _read_constant(node: NodeProto, path: Path) -> TensorProto | None:
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
    elif attribute.name == "sparse_value":
        tensor = _make_dense(attribute.sparse_tensor, node.output[0], path)
    else:
        return None
    tensor.name = node.output[0]
    return tensor
