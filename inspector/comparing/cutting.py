"""Both networks run piece by piece, and B once more with A's values in place of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Protocol

import onnx
from numpy.typing import NDArray

from inspector.graph import Graph, Input, infer_types, read_shape
from inspector.runtime import Sessions

OWN = "/own"
"""What a layer's tensor is called that was computed from the other network's values."""


class Engine(Protocol):
    """What computes tensors of one graph."""

    def run(self, feeds: Mapping[str, NDArray[Any]], tensors: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Compute `tensors` from the tensors that are given, which cut the graph."""


@dataclass
class SessionEngine:
    """onnxruntime as an engine."""

    sessions: Sessions

    def run(self, feeds: Mapping[str, NDArray[Any]], tensors: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Compute `tensors` from the tensors that are given, which cut the graph."""
        return self.sessions.session(tensors, tuple(feeds), feeds).run(feeds)


@dataclass(frozen=True)
class Stage:
    """One piece of a graph.

    Attributes:
        inputs: The tensors that it reads.
        outputs: The tensors that it gives: those asked for, and those that a later piece reads.
        dropped: Tensors that no later piece reads and nobody asked for in it.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dropped: tuple[str, ...] = ()


def make_stages(graph: Graph, groups: Sequence[Sequence[str]]) -> list[Stage]:
    """Cut a graph into pieces that compute groups of tensors one after the other, each node once.

    Args:
        graph: The graph.
        groups: Names of tensors, in topological order.
    """
    everything, _ = graph.needed([name for group in groups for name in group])
    left = set(everything)
    known = {x.name for x in graph.inputs}
    plain: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    for group in groups:
        nodes, outside = graph.needed(group, known)
        left -= nodes
        made = [name for i in sorted(nodes) for name in graph.nodes[i].output if name]
        crossing = [name for name in made if any(i in left for i in graph.consumers_of.get(name, ()))]
        outputs = tuple(name for name in dict.fromkeys((*group, *crossing)) if name not in known)
        plain.append((tuple(x for x in sorted(outside) if x in known), outputs))
        known.update(outputs)
    stages: list[Stage] = []
    later: set[str] = set()
    held = {x.name for x in graph.inputs} | {name for _, outputs in plain for name in outputs}
    for (inputs, outputs), group in zip(reversed(plain), reversed(groups), strict=True):
        keep = later | set(group)
        stages.append(Stage(inputs, outputs, tuple(sorted(held - keep))))
        later |= {*inputs, *group}
    return stages[::-1]


def open_graph(graph: Graph, tensors: Iterable[str]) -> Graph:
    """The graph with every reader of some tensors reading an input instead.

    Args:
        graph: The graph.
        tensors: Names of tensors that nodes make.

    Returns:
        A graph in which each of them is an input, and what their nodes make is called so with OWN at its end.
    """
    opened = set(tensors)
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    for node in proto.graph.node:
        for k, name in enumerate(node.output):
            if name in opened:
                node.output[k] = name + OWN
    kept = [value for value in proto.graph.value_info if value.name not in opened]
    outputs = [value for value in proto.graph.output if value.name not in opened]
    del proto.graph.value_info[:], proto.graph.output[:]
    proto.graph.value_info.extend(kept)
    proto.graph.output.extend(outputs)
    inputs = (*graph.inputs, *(Input(name, None, "float32") for name in sorted(opened)))
    return replace(graph, proto=proto, inputs=inputs, outputs=tuple(x for x in graph.outputs if x not in opened))


def measure_tensors(graph: Graph, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Elements of the tensors of a graph, as far as inference tells.

    Args:
        graph: The graph.
        shapes: Name of an input -> its shape.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(graph.proto)
    for value in probe.graph.input:
        if value.name in shapes:
            tensor = value.type.tensor_type
            del tensor.shape.dim[:]
            for size in shapes[value.name]:
                tensor.shape.dim.add().dim_value = size
    found: dict[str, int] = {}
    for value in infer_types(probe):
        shape = read_shape(value)
        if shape is None or not all(isinstance(size, int) for size in shape):
            continue
        found[value.name] = prod(int(size or 0) for size in shape)
    return found
