"""The network of a model, ready to be rewritten: what is exposed is left out, batch norms are folded."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from inspector.errors import InspectorError
from inspector.graph import attributes, has_blocks, node_inputs, operator_of
from inspector.model import Model

Array = NDArray[Any]
_OPSET = 13
"""First operator set with one scale per channel."""


class QuantizeError(InspectorError):
    """The model cannot be made smaller as it was asked for."""

    kind = "quantise"  # what --json has always called it


@dataclass
class QuantizableGraph:
    """The part of a graph that its answers need, with the weights in memory, ready to be rewritten.

    Attributes:
        proto: The model without nodes and weights: inputs, outputs, operator sets.
        nodes: The nodes, in topological order.
        weights: Arrays by tensor name.
        outputs: The names of the outputs; layers that are only exposed are not among them.
        inputs: The names of the inputs.
    """

    proto: onnx.ModelProto
    nodes: list[NodeProto]
    weights: dict[str, Array]
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]

    def readers(self) -> dict[str, list[int]]:
        """Find the indices of the nodes that read each tensor."""
        found: dict[str, list[int]] = {}
        for i, node in enumerate(self.nodes):
            for name in dict.fromkeys(node_inputs(node)):
                found.setdefault(name, []).append(i)
        return found

    def makers(self) -> dict[str, int]:
        """Find the index of the node that makes each tensor."""
        return {name: i for i, node in enumerate(self.nodes) for name in node.output if name}

    def free_name(self, name: str) -> str:
        """Return `name`, with a number behind it where a tensor is called so already."""
        taken = {n for node in self.nodes for n in (*node.input, *node.output)} | self.weights.keys()
        return next(n for k in itertools.count() if (n := f"{name}_{k}" if k else name) not in taken)


def read_quantizable(source: Model) -> QuantizableGraph:
    """Read the network of a model into memory, with batch norms folded and without the layers that it exposes.

    Raises:
        QuantizeError: The operator set of the model cannot be raised to 13.
    """
    graph = source.graph
    layers = {layer.tensor for layer in source.layers}
    answers = {find_answer(source), *(source.decoder.outputs if source.decoder is not None else ())}
    # What no other node reads is an answer too, also where it is a layer: one of several heads, or an embedding.
    outputs = [
        name for name in graph.outputs if name not in layers or name in answers or not graph.consumers_of.get(name)
    ] or list(graph.outputs[-1:])
    part = graph.cut(outputs).proto
    proto = onnx.ModelProto()
    proto.CopyFrom(part)
    for entry, tensor in ((e, graph.initializers[e.name]) for e in proto.graph.initializer):
        array = np.asarray(graph.tensor_array(tensor), order="C")
        entry.CopyFrom(numpy_helper.from_array(array, entry.name))
    del proto.graph.output[:]
    proto.graph.output.extend(declare_output(source, name) for name in outputs)
    if graph.opset < _OPSET:
        try:
            proto = onnx.version_converter.convert_version(proto, _OPSET)
        except Exception as error:  # a C++ error type of the onnx package
            raise QuantizeError(
                f"{source.path} has operator set {graph.opset}, and it cannot be raised to {_OPSET}: {error}",
                "export it again with a later one",
            ) from None
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    del proto.graph.initializer[:]
    network = QuantizableGraph(
        proto, list(proto.graph.node), weights, tuple(outputs), tuple(value.name for value in proto.graph.input)
    )
    _fold_norms(network)
    return network


def check_no_integers(source: Model) -> None:
    """Raise QuantizeError for a file that computes with integers somewhere."""
    if any(operator_of(node).integer for node in source.graph.nodes):
        raise QuantizeError(f"{source.path} is quantized already", "give the float model that it was made of")


def check_no_blocks(source: Model) -> None:
    """Raise QuantizeError for a file in which onnxruntime has laid channels in blocks, as one processor likes them."""
    if has_blocks(source.graph):
        raise QuantizeError(
            f"{source.path} was optimised by onnxruntime for one processor, with channels in blocks (nchwc), which it "
            "computes in single precision only",
            "give the file that it was made of",
        )


def find_answer(source: Model) -> str | None:
    """Find the graph output that the scores are read from; None for a model that is no classifier."""
    if source.classifier is None:
        return None
    scores = source.classifier.scores
    if source.metadata.output in source.graph.outputs:
        return source.metadata.output
    return scores if scores in source.graph.outputs else None


def declare_output(source: Model, tensor: str) -> onnx.ValueInfoProto:
    """Declare a tensor as an output, with the type and shape that the source gives it."""
    declared = source.graph.value_infos.get(tensor)
    if declared is None:
        return helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None)
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(declared)
    return copy


def _fold_norms(network: QuantizableGraph) -> None:
    """Batch norms right behind a convolution become part of its weights; the convolution takes over their name."""
    readers = network.readers()
    gone: set[int] = set()
    for node in network.nodes:
        if node.op_type != "Conv" or node.input[1] not in network.weights or node.output[0] in network.outputs:
            continue
        behind = readers.get(node.output[0], [])
        norm = network.nodes[behind[0]] if len(behind) == 1 else None
        if norm is None or norm.op_type != "BatchNormalization" or attributes(norm).get("training_mode", 0):
            continue
        if not all(name in network.weights for name in norm.input[1:5]) or len([n for n in norm.output if n]) > 1:
            continue
        gamma, beta, mean, variance = (network.weights[name].astype(np.float64) for name in norm.input[1:5])
        factor = gamma / np.sqrt(variance + attributes(norm).get("epsilon", 1e-5))
        weight = network.weights[node.input[1]]
        old = network.weights.get(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(len(weight))
        if old is None or len(factor) != len(weight):  # of a damaged file
            continue
        names = [network.free_name(f"{node.input[1]}/folded"), network.free_name(f"{norm.output[0]}/bias")]
        shape = (-1, *[1] * (weight.ndim - 1))
        network.weights[names[0]] = (weight * factor.reshape(shape)).astype(weight.dtype)
        network.weights[names[1]] = ((old - mean) * factor + beta).astype(weight.dtype)
        folded = [node.input[0], *names]
        del node.input[:]
        node.input.extend(folded)
        node.output[0] = norm.output[0]
        gone.add(behind[0])
    network.nodes = [node for i, node in enumerate(network.nodes) if i not in gone]


def assemble(network: QuantizableGraph, nodes: Iterable[NodeProto], weights: Mapping[str, Array]) -> onnx.ModelProto:
    """Make a model of these nodes, with the weights that they read."""
    proto = onnx.ModelProto()
    proto.CopyFrom(network.proto)
    del proto.graph.node[:], proto.graph.value_info[:], proto.metadata_props[:]
    proto.graph.node.extend(nodes)
    read = {name for node in proto.graph.node for name in node_inputs(node)} | set(network.outputs)
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array, order="C"), name) for name, array in weights.items() if name in read
    )
    for node in proto.graph.node:
        # Source lines and paths of the exporting machine have no place in what is shipped.
        del node.metadata_props[:]
        node.doc_string = ""
    return proto
