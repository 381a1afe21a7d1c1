"""The network that is added to: its graph in an operator set that the new nodes fit, its weights, its shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from exporters.attaching.sizes import TensorSizes
from exporters.attaching.writer import GraphWriter
from inspector.cam.attached import ATTACHED_TOLERANCE, Claim
from inspector.errors import InspectorError
from inspector.graph import Graph
from inspector.metadata import AttachedEntry, Attachment
from inspector.model import Model, make_picture_shape
from inspector.reverse import Head

OPSET = 13
"""First operator set that the nodes are written for."""


class AttachError(InspectorError):
    """The outputs cannot be attached as it was asked for."""

    kind = "attach"


Expect = Callable[[NDArray[Any], NDArray[Any]], Claim]


@dataclass(frozen=True)
class AttachedOutput:
    """An output that was added.

    Attributes:
        name: Its name.
        shape: Its shape: an int where the size is fixed, a word where it is not.
        meaning: What it says, in a sentence.
        entry: What the metadata says of it.
        expect: The input of a picture, and what the file says -> that beside what it should say, by what only its
            making knows; None where the file tells enough to compute it anew.
        tolerance: Largest difference that is let pass, as a share of the largest value.
        pictures: How many pictures it is compared on at most.
    """

    name: str
    shape: tuple[int | str, ...]
    meaning: str
    entry: AttachedEntry = field(repr=False)
    expect: Expect | None = field(default=None, repr=False, compare=False)
    tolerance: float = ATTACHED_TOLERANCE
    pictures: int = 3


@dataclass
class Workbench:
    """A network and what is added to it.

    Attributes:
        model: The model as it was opened.
        graph: Its graph with all weights inside, in operator set 13 or later.
        write: The nodes that are added.
        outputs: The outputs that were added.
    """

    model: Model
    graph: Graph
    write: GraphWriter
    outputs: list[AttachedOutput] = field(default_factory=list)

    @cached_property
    def batch(self) -> int | str:
        """The number of pictures: fixed, or the word that the input has for it."""
        declared = self.model.input.shape[0] if self.model.input.shape else None
        return declared if isinstance(declared, int | str) and declared else "batch"

    def measure(self, *heads: Head, graph: Graph | None = None, prefix: str = "") -> TensorSizes:
        """The shapes of all tensors on some ways.

        Args:
            heads: The ways.
            graph: Where they lead through; None for the network itself.
            prefix: What the names in it have before those of the network.
        """
        graph = graph or self.graph
        names = {name for head in heads for i in head.path for name in (*graph.nodes[i].input, *graph.nodes[i].output)}
        names.update(name for head in heads for name in (head.layer, head.output))
        made = [name for name in names if name in graph.producer_of]
        model, shape = self.model, make_picture_shape(self.model)

        def run(missing: Sequence[str]) -> Mapping[str, NDArray[Any]]:
            plain = {name: name.removeprefix(prefix) for name in missing}
            values = model.run(np.zeros(shape, model.input.dtype), list(plain.values()))
            return {name: values[own] for name, own in plain.items()}

        return TensorSizes(graph, (graph.inputs[0].name, shape), made, run)

    # Wide: what is said of an output, and how it is compared.
    def add_output(
        self,
        tensor: str,
        meaning: Attachment,
        text: str,
        shape: tuple[int | str, ...],
        settings: Mapping[str, Any],
        expect: Expect | None = None,
        tolerance: float = ATTACHED_TOLERANCE,
        pictures: int = 3,
    ) -> str:
        """Make a tensor an output of the file, under the name of what it means where that is free; gives its name."""
        name = self.write.find_free_name(meaning)
        # A copy costs its time where other nodes read the tensor too: onnxruntime removes it only where none does.
        if not self.write.rename(tensor, name):
            self.write.emit("Identity", tensor, out=name)
        entry = AttachedEntry(name, meaning, dict(settings))
        self.outputs.append(AttachedOutput(name, shape, text, entry, expect, tolerance, pictures))
        return name


def open_workbench(model: Model) -> Workbench:
    """Read a network into memory, ready to be added to.

    Raises:
        AttachError: Its operator set cannot be raised to 13.
    """
    graph = load_weights(model.graph)
    if graph.opset < OPSET:
        try:
            raised = onnx.version_converter.convert_version(graph.proto, OPSET)
        except Exception as error:  # a C++ error type of the onnx package
            raise AttachError(
                f"{model.path} has operator set {graph.opset}, and it cannot be raised to {OPSET}: {error}",
                "export it again with a later one",
            ) from None
        graph = replace(graph, proto=raised)
    return Workbench(model, graph, GraphWriter(graph))


def load_weights(graph: Graph) -> Graph:
    """The same graph with its weights in memory, not in the file."""
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    for entry in proto.graph.initializer:
        array = np.asarray(graph.tensor_array(graph.initializers[entry.name]), order="C")
        entry.CopyFrom(numpy_helper.from_array(array, entry.name))
    return replace(graph, proto=proto)
