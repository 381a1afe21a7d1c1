"""Reading an .onnx file: its structure in memory, its weights left in the file.

A network's weights are most of its file, and most questions need few of them. The file is scanned once at the level of
protobuf's wire format; every tensor above 1 KiB is replaced by a reference to its own bytes in that file (ONNX's
external-data form). What remains is a few hundred kilobytes of structure that can be walked and cut freely, and
onnxruntime maps the weights it really needs from the file itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector import onnx
from inspector.errors import ModelError, listing
from inspector.graph.digest import FileDigest
from inspector.graph.element_types import FLOAT_TYPES, HALF_TYPES, SUB_BYTE_TYPES, find_byte_count
from inspector.graph.external import identify_file, read_reference
from inspector.graph.nodes import node_inputs
from inspector.graph.operators import operator_of, value_inputs
from inspector.graph.wire import EXTERNAL
from inspector.records import record

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto


@record
class Input:
    """One input of a graph as the file declares it.

    Attributes:
        name: The tensor's name.
        shape: An int where the size is fixed, a str where it is symbolic, None where nothing is said; None as a whole
            where not even the number of axes is known.
        dtype: The numpy name of the element type, for example ``"float32"``.
    """

    name: str
    shape: tuple[int | str | None, ...] | None
    dtype: str


@record
class Cut:
    """A part of a graph, ready for a session.

    Attributes:
        proto: The part as a model of its own.
        inputs: Names of the tensors that it was cut at.
        outputs: Names of the tensors that it gives.
        leftover: Inputs of the graph that the part reads besides those in `inputs`.
        shape_only: Of those it reads nothing but the shape, as torch's flatten does.
    """

    proto: ModelProto
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    leftover: tuple[str, ...]
    shape_only: bool


@record
class Graph:
    """The structure of one .onnx file. Made by :func:`read_graph`; never changed afterwards.

    Attributes:
        path: The file.
        size: Bytes of the file and of its external data.
        proto: The ModelProto with weights above 1 KiB as references, Constant nodes turned into initializers and local
            functions inlined. Tensor names are those of the file.
        inputs: What the file declares of each input that is no weight.
        outputs: Names of the outputs.
        metadata: The file's metadata entries.
        folder: What the locations of external data are relative to; links are followed.
        allow_links: Folders that links to external data were allowed to lead into.
        given: Values of inputs that whoever opened it gave, by name.
        origin: The graph as its file has it, where inputs were filled or a batch axis was added; None otherwise.
    """

    path: Path
    size: int
    proto: ModelProto
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]
    folder: Path
    allow_links: tuple[Path, ...] = ()
    given: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    origin: Graph | None = field(default=None, repr=False)
    _identities: tuple[tuple[Path, tuple[int, int, int]], ...] = field(repr=False, default=())
    _hashed: FileDigest | None = field(repr=False, default=None)

    @property
    def sha256(self) -> str:
        """Hex digest of the .onnx file itself; see :attr:`digest` for weights that lie outside of it.

        Raises:
            ModelError: The file was changed while it was opened.
        """
        return self._hashed.result() if self._hashed is not None else ""

    @property
    def nodes(self) -> Sequence[NodeProto]:
        """The nodes in topological order."""
        nodes: Sequence[NodeProto] = self.proto.graph.node
        return nodes

    @property
    def files(self) -> tuple[Path, ...]:
        """The file itself and those that hold weights of it."""
        return (self.path, *self.external_files)

    @property
    def external_files(self) -> tuple[Path, ...]:
        """The files beside the model that hold weights of it; links are followed."""
        return tuple(path for path, _ in self._identities[1:])

    @property
    def opening(self) -> dict[str, Any]:
        """What the file was opened with, by the names that :func:`inspector.open_model` gives it."""
        return {"allow_links": self.allow_links, "inputs": self.given}

    @cached_property
    def digest(self) -> str:
        """What the model *is*: hex SHA-256 of the file, and of its external data where it has any.

        Equal to :attr:`sha256` for a model in one file. External data is read once, when this is first asked for.
        """
        if not self.external_files:
            return self.sha256
        self.check_unchanged()
        total = hashlib.sha256(self.sha256.encode())
        for path in self.external_files:
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return total.hexdigest()

    @property
    def opset(self) -> int:
        """Version of the default operator set."""
        return next((o.version for o in self.proto.opset_import if o.domain in ("", "ai.onnx")), 0)

    @cached_property
    def initializers(self) -> dict[str, TensorProto]:
        """Weights and constants by tensor name."""
        return {t.name: t for t in self.proto.graph.initializer}

    @cached_property
    def producer_of(self) -> dict[str, int]:
        """Index into `nodes` of the node that makes each tensor."""
        return {name: i for i, node in enumerate(self.nodes) for name in node.output if name}

    @cached_property
    def consumers_of(self) -> dict[str, list[int]]:
        """Indices into `nodes` of the nodes that read each tensor, in topological order."""
        readers: dict[str, list[int]] = {}
        for i, node in enumerate(self.nodes):
            for name in dict.fromkeys(node_inputs(node)):
                readers.setdefault(name, []).append(i)
        return readers

    @cached_property
    def from_picture(self) -> frozenset[str]:
        """The tensors that are computed from the picture itself, the inputs included.

        What is computed from nothing but the picture's shape is not among them, and neither are constants.
        """
        return frozenset(self.find_dependents(i.name for i in self.inputs))

    @cached_property
    def from_inputs(self) -> frozenset[str]:
        """The tensors that change with the inputs in any way, be it with their shape alone; the inputs included."""
        found = {i.name for i in self.inputs}
        for node in self.nodes:
            if not found.isdisjoint(node_inputs(node)):
                found.update(name for name in node.output if name)
        return frozenset(found)

    @cached_property
    def counted(self) -> frozenset[str]:
        """The tensors whose number of rows depends on the picture's values, as that of a detector's boxes does.

        What is computed from them in any way is among them. They may have no rows at all.
        """
        seen, found = self.from_picture, set[str]()
        for node in self.nodes:
            read = node_inputs(node)
            if found.intersection(read) or (operator_of(node).counts and seen.intersection(node.input)):
                found.update(name for name in node.output if name)
        return frozenset(found)

    def find_dependents(self, tensors: Iterable[str], positions: bool = True) -> set[str]:
        """The tensors whose values depend on those of `tensors`, these included.

        What reads only their shape or their type does not depend on them.

        Args:
            tensors: Names of tensors.
            positions: Whether to follow what says no more than where values lie, as an ArgMax does.
        """
        found = set(tensors)
        for node in self.nodes:
            if not positions and operator_of(node).positions:
                continue
            if any(name in found for name in value_inputs(node)):
                found.update(name for name in node.output if name)
        return found

    @cached_property
    def half_precision(self) -> bool:
        """Whether the graph computes in half precision: it has weights of 16 bits."""
        return any(tensor.data_type in HALF_TYPES for tensor in self.initializers.values())

    @cached_property
    def parameters(self) -> int:
        """Number of elements in floating-point initializers."""
        return sum(
            int(np.prod(t.dims, dtype=np.int64)) for t in self.initializers.values() if t.data_type in FLOAT_TYPES
        )

    def weight(self, name: str) -> NDArray[Any]:
        """The initializer `name` as a read-only array in the dtype and shape of the file.

        Large tensors are mapped, not read: the bytes come from disk when they are touched.

        Raises:
            ModelError: There is no such initializer, or its bytes are not where the file says.
        """
        tensor = self.initializers.get(name)
        if tensor is None:
            raise ModelError(f"the model has no initializer named {name!r}")
        return self.tensor_array(tensor)

    def tensor_array(self, tensor: TensorProto) -> NDArray[Any]:
        """Any TensorProto of this graph as an array; see :meth:`weight`."""
        from onnx import helper, numpy_helper

        try:
            if tensor.data_location != EXTERNAL:
                return numpy_helper.to_array(tensor)
            reference = read_reference(tensor)
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(f"tensor {tensor.name!r} of {self.path.name} cannot be read: {error}") from None
        self.check_unchanged()
        shape = tuple(tensor.dims)
        if 0 in shape:
            return np.zeros(shape, dtype)
        path = self.folder / reference.location
        if tensor.data_type in SUB_BYTE_TYPES:  # several values to a byte, which numpy has no arrays of
            length = find_byte_count(tensor.data_type, int(np.prod(shape, dtype=np.int64)))
            packed = np.fromfile(path, np.uint8, length or 0, offset=reference.offset)
            unpacked = onnx.TensorProto(dims=shape, data_type=tensor.data_type, raw_data=packed.tobytes())
            return numpy_helper.to_array(unpacked)
        array: NDArray[Any] = np.memmap(path, dtype, mode="r", offset=reference.offset, shape=shape)
        return array

    def check_unchanged(self) -> None:
        """Check that the file on disk, and its external data, are still what was read.

        Raises:
            ModelError: One of them was changed or is gone.
        """
        for path, before in self._identities:
            try:
                now = identify_file(path.stat())
            except OSError as error:
                raise ModelError(f"{path} cannot be read any more: {error.strerror}") from None
            if now != before:
                raise ModelError(f"{path} was changed while it was open", "open it again")

    def needed(self, outputs: Iterable[str], stop: Iterable[str] = ()) -> tuple[set[int], set[str]]:
        """The node indices that `outputs` depend on, and the tensors read from outside, not going past `stop`."""
        stops = set(stop)
        nodes: set[int] = set()
        outside: set[str] = set()
        seen: set[str] = set()
        stack = list(outputs)
        while stack:
            name = stack.pop()
            if not name or name in seen:
                continue
            seen.add(name)
            index = None if name in stops else self.producer_of.get(name)
            if index is None:
                outside.add(name)
            elif index not in nodes:
                nodes.add(index)
                stack.extend(node_inputs(self.nodes[index]))
        return nodes, outside

    def cut(self, outputs: Sequence[str], inputs: Sequence[str] | None = None) -> Cut:
        """Cut out the part of the graph between `inputs` and `outputs`, and nothing else.

        Args:
            outputs: Names of tensors.
            inputs: Names of tensors that become inputs of the part; the graph's own unless given.

        Raises:
            ModelError: The graph does not have one of the tensors.
        """
        known = self.producer_of.keys() | {i.name for i in self.inputs} | self.initializers.keys()
        if missing := [name for name in (*outputs, *(inputs or ())) if name not in known]:
            raise ModelError(f"the graph has no tensor named {listing([repr(m) for m in missing])}")
        nodes, outside = self.needed(outputs, inputs or ())
        if unmade := sorted(outside - known):
            raise ModelError(f"{self.path.name} reads tensors that nothing makes: {listing(unmade)}")
        own = [i.name for i in self.inputs]
        wanted = list(inputs) if inputs is not None else [n for n in own if n in outside] or own
        leftover = tuple(n for n in own if n in outside and n not in wanted)
        shape_only = not (set(leftover) & set(outputs)) and not any(
            name in value_inputs(self.nodes[i]) for name in leftover for i in self.consumers_of[name] if i in nodes
        )

        source = self.proto.graph
        part = onnx.ModelProto()
        part.ir_version = max(self.proto.ir_version, 4)  # before 4 every initializer had to be an input too
        part.opset_import.extend(self.proto.opset_import)
        part.producer_name = self.proto.producer_name
        part.graph.name = source.name or "graph"
        part.graph.node.extend(self.nodes[i] for i in sorted(nodes))
        reached = outside | set(outputs)  # an output may itself be an input or a constant
        part.graph.initializer.extend(t for t in source.initializer if t.name in reached and t.name not in wanted)
        part.graph.input.extend(self._value_info(name) for name in (*wanted, *leftover))
        self._add_outputs(part.graph, outputs)
        return Cut(part, tuple(wanted), tuple(outputs), leftover, shape_only)

    def _add_outputs(self, part: GraphProto, outputs: Sequence[str]) -> None:
        produced = {name for node in part.node for name in node.output}
        for name in outputs:
            if name in produced:
                part.output.append(self._value_info(name))
                continue
            # onnxruntime does not accept a constant or an input as an output; a copy of it is one.
            part.node.append(onnx.helper.make_node("Identity", [name], [f"{name}/copy"]))
            info = self._value_info(name)
            info.name = f"{name}/copy"
            part.output.append(info)

    @cached_property
    def value_infos(self) -> dict[str, onnx.ValueInfoProto]:
        """What the file says of the type of each tensor; empty for most files."""
        source = self.proto.graph
        return {v.name: v for group in (source.value_info, source.input, source.output) for v in group}

    def _value_info(self, name: str) -> onnx.ValueInfoProto:
        info = onnx.ValueInfoProto()
        declared = self.value_infos.get(name)
        if declared is not None:
            info.CopyFrom(declared)
            if self.producer_of.get(name) is not None:
                # A wrong or over-narrow declared shape makes the runtime warn or refuse: let it infer.
                info.type.tensor_type.ClearField("shape")
        info.name = name
        return info
