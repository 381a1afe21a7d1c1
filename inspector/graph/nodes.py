"""What a node reads and says, and the walks over nodes and tensors that go into bodies and local functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from inspector import onnx

if TYPE_CHECKING:
    from onnx import AttributeProto, ModelProto, NodeProto, TensorProto

GRAPHS = (5, 10)  # AttributeProto.GRAPH and GRAPHS
_FIELDS = {
    onnx.AttributeProto.FLOAT: "f", onnx.AttributeProto.INT: "i", onnx.AttributeProto.STRING: "s",
    onnx.AttributeProto.TENSOR: "t", onnx.AttributeProto.SPARSE_TENSOR: "sparse_tensor",
    onnx.AttributeProto.GRAPH: "g", onnx.AttributeProto.TYPE_PROTO: "tp",
}  # fmt: skip
_LISTS = {
    onnx.AttributeProto.FLOATS: "floats", onnx.AttributeProto.INTS: "ints", onnx.AttributeProto.STRINGS: "strings",
    onnx.AttributeProto.TENSORS: "tensors", onnx.AttributeProto.SPARSE_TENSORS: "sparse_tensors",
    onnx.AttributeProto.GRAPHS: "graphs", onnx.AttributeProto.TYPE_PROTOS: "type_protos",
}  # fmt: skip
"""Where the value of an attribute of each type stands."""


def node_inputs(node: NodeProto) -> Iterator[str]:
    """Every tensor that a node reads, those used inside the bodies of If, Loop and Scan included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs) if attribute.type in GRAPHS else ():
            inner = {v.name for v in body.input} | {t.name for t in body.initializer}
            inner |= {sparse.values.name for sparse in body.sparse_initializer}
            for child in body.node:
                yield from (name for name in node_inputs(child) if name not in inner)
                inner.update(child.output)
            yield from (v.name for v in body.output if v.name not in inner)


def is_standard(node: NodeProto) -> bool:
    """Whether the operator is one of ONNX's own, whose inputs and attributes were checked when the file was read."""
    return node.domain in ("", "ai.onnx")


def attributes(node: NodeProto) -> dict[str, Any]:
    """The attributes of a node as Python values (bytes decoded, tensors and graphs as they are)."""
    return {a.name: _attribute(a) for a in node.attribute}


def _attribute(attribute: AttributeProto) -> Any:
    if attribute.ref_attr_name:  # an argument of the function that the node is in
        return None
    if attribute.type in _LISTS:
        values = list(getattr(attribute, _LISTS[attribute.type]))
        return [_decode(value) for value in values] if attribute.type == onnx.AttributeProto.STRINGS else values
    field = _FIELDS.get(attribute.type)  # None: of no known type
    return None if field is None else _decode(getattr(attribute, field))


def _decode(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def iterate_tensors(proto: ModelProto) -> Iterator[TensorProto]:
    """Every tensor that holds values: weights, attributes, and those in bodies and local functions."""
    graphs = [proto.graph]
    nodes = [node for function in proto.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            yield from (part for sparse in graph.sparse_initializer for part in (sparse.values, sparse.indices))
            nodes.extend(graph.node)
        for node in nodes:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                found = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
                for sparse in (*found, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)
                graphs.extend((attribute.g, *attribute.graphs) if attribute.type in GRAPHS else ())
        nodes.clear()


def iterate_with_bodies(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """These nodes, and those in the bodies of If, Loop and Scan."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs) if attribute.type in GRAPHS else ():
                yield from iterate_with_bodies(body.node)
