"""A network in the pieces that the page puts together: nodes, small constants, and large weights as one block."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx

from inspector.errors import UsageError
from inspector.graph import Graph, node_inputs
from inspector.graph.external import read_reference
from inspector.graph.nodes import iterate_tensors
from inspector.graph.wire import EXTERNAL

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

WEIGHTS = "weights"
"""What the block of weights is called in the page; its tensors refer to it."""

MOST_BYTES = 256 * 1024 * 1024
"""Largest network that a page can hold: a browser takes strings of half a gigabyte, and holds weights several times."""

_ALIGNMENT = 64
"""Weights begin at multiples of this, so that none is copied to be read."""


@dataclass(frozen=True)
class Pieces:
    """What the page makes graphs of.

    Attributes:
        structure: NodeProto and TensorProto messages, one behind the other.
        weights: The bytes of the large tensors.
        document: Where each message begins and ends, what each node reads and makes, and the head of every ModelProto.
    """

    structure: bytes
    weights: bytes
    document: Mapping[str, Any]


def take_apart(graph: Graph) -> Pieces:
    """Take a graph apart, its weights read from the file.

    Raises:
        UsageError: It is larger than a page can hold.
        ModelError: The file was changed while it was open.
    """
    if graph.size > MOST_BYTES:
        raise UsageError(
            f"{graph.path.name} has {graph.size / 1e6:.0f} MB; a page can hold a network of {MOST_BYTES / 1e6:.0f} MB",
            "--int8 makes it a quarter of that; `inspector report` without --live takes any size",
        )
    graph.check_unchanged()
    weights, structure = bytearray(), bytearray()

    def add(message: Any) -> dict[str, Any]:
        data = message.SerializeToString()
        structure.extend(data)
        return {"at": len(structure) - len(data), "size": len(data)}

    tensors = []
    for tensor in graph.proto.graph.initializer:
        here = onnx.TensorProto()
        here.CopyFrom(tensor)
        if tensor.data_location == EXTERNAL:
            _move(here, _read(graph, tensor), weights)
        tensors.append({"name": tensor.name, **add(here)})
    nodes = []
    for node in graph.nodes:
        whole = _inline(graph, node)
        names = {"in": list(dict.fromkeys(node_inputs(node))), "out": [name for name in node.output if name]}
        nodes.append({**names, **add(whole)})
    head = base64.b64encode(_head(graph).SerializeToString()).decode()
    return Pieces(bytes(structure), bytes(weights), {"head": head, "nodes": nodes, "weights": tensors})


def _head(graph: Graph) -> ModelProto:
    """What every part of the graph begins with."""
    head = onnx.ModelProto(ir_version=max(graph.proto.ir_version, 4), producer_name=graph.proto.producer_name)
    head.opset_import.extend(graph.proto.opset_import)
    head.graph.name = "part"
    return head


def _read(graph: Graph, tensor: TensorProto) -> bytes:
    reference = read_reference(tensor)
    size = reference.length if reference.length >= 0 else graph.tensor_array(tensor).nbytes
    with (graph.folder / reference.location).open("rb") as file:
        file.seek(reference.offset)
        return file.read(size)


def _move(tensor: TensorProto, data: bytes, block: bytearray) -> None:
    """Let a tensor refer to the block, at whose end its bytes are put."""
    block.extend(bytes(-len(block) % _ALIGNMENT))
    del tensor.external_data[:]
    for key, value in (("location", WEIGHTS), ("offset", len(block)), ("length", len(data))):
        tensor.external_data.add(key=key, value=str(value))
    block.extend(data)


def _inline(graph: Graph, node: onnx.NodeProto) -> onnx.NodeProto:
    """The node with the values of all its tensors inside, those of bodies of If and Loop too."""
    whole = onnx.NodeProto()
    whole.CopyFrom(node)
    holder = onnx.ModelProto(graph=onnx.GraphProto(node=[whole]))
    for tensor in iterate_tensors(holder):
        if tensor.data_location == EXTERNAL:
            tensor.raw_data = _read(graph, tensor)
            del tensor.external_data[:]
            tensor.ClearField("data_location")
    whole.CopyFrom(holder.graph.node[0])
    return whole
