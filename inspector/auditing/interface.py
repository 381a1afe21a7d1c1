"""What a program that runs a model relies on, and what the graph consists of: held against a reference's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnx import NodeProto, ValueInfoProto

from inspector.graph import Graph, operator_of, read_shape


@dataclass(frozen=True)
class Port:
    """One input or output.

    Attributes:
        name: Its name.
        shape: A whole number where a size is fixed, None where it is free; None as a whole where the rank is not known.
        type: The number of its element type in ONNX.
    """

    name: str
    shape: tuple[int | None, ...] | None
    type: int

    def __str__(self) -> str:
        return f"{self.name!r} {self.shown_shape}"

    @property
    def shown_shape(self) -> str:
        """The shape for people."""
        if self.shape is None:
            return "of any shape"
        return "(" + ", ".join("any" if size is None else str(size) for size in self.shape) + ")"

    def to_json(self) -> dict[str, Any]:
        """For a snapshot."""
        return {"name": self.name, "shape": None if self.shape is None else list(self.shape), "type": self.type}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Port:
        """From a snapshot."""
        shape = entry["shape"]
        sizes = None if shape is None else tuple(None if size is None else int(size) for size in shape)
        return cls(str(entry["name"]), sizes, int(entry["type"]))


@dataclass(frozen=True)
class Interface:
    """The inputs and outputs of a graph, each in order."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def to_json(self) -> dict[str, Any]:
        """For a snapshot."""
        return {"inputs": [p.to_json() for p in self.inputs], "outputs": [p.to_json() for p in self.outputs]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Interface:
        """From a snapshot."""
        inputs, outputs = (tuple(map(Port.from_json, document[key])) for key in ("inputs", "outputs"))
        return cls(inputs, outputs)


def describe_interface(graph: Graph) -> Interface:
    """The inputs and outputs as the file declares them, weights among the inputs left out."""
    given = {port.name for port in graph.inputs}
    source = graph.proto.graph
    return Interface(
        tuple(_describe(value) for value in source.input if value.name in given),
        tuple(_describe(value) for value in source.output),
    )


def _describe(value: ValueInfoProto) -> Port:
    shape = read_shape(value)
    # The name of a free size says nothing.
    sizes = None if shape is None else tuple(size if isinstance(size, int) else None for size in shape)
    return Port(value.name, sizes, value.type.tensor_type.elem_type)


def find_changes(what: str, before: Sequence[Port], after: Sequence[Port]) -> Iterator[tuple[str, str]]:
    """(name, what became of it as a sentence) of each input or output that is not the reference's.

    Args:
        what: "input" or "output".
        before: The reference's.
        after: The model's.
    """
    old, new = ({port.name: port for port in ports} for ports in (before, after))
    gone, added = [n for n in old if n not in new], [n for n in new if n not in old]
    yield from ((name, f"the {what} {old[name]} is gone") for name in gone)
    yield from ((name, f"the {what} {new[name]} is new") for name in added)
    common, now = [n for n in old if n in new], [n for n in new if n in old]
    if common != now:
        name = next(b for a, b in zip(common, now, strict=True) if a != b)
        yield name, f"the {what}s are in another order, first {name!r}"
    for name in common:
        a, b = old[name], new[name]
        if a.type != b.type:
            yield name, f"the {what} {name!r} has another type of elements"
        if a.shape != b.shape:
            yield name, f"the {what} {name!r} was {a.shown_shape} and is {b.shown_shape}"


def name_operator(node: NodeProto) -> str:
    """The operator of a node, with the domain where it is not ONNX's own."""
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type


def count_operators(graph: Graph) -> dict[str, int]:
    """Nodes by operator, with the domain where it is not ONNX's own; what only hands values on is left out."""
    found = Counter(
        name_operator(node) for node in graph.nodes if node.op_type != "Constant" and not operator_of(node).transparent
    )
    return dict(sorted(found.items()))
