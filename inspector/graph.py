"""Reading an .onnx file: its structure in memory, its weights left in the file.

A network's weights are most of its file, and most questions need few of them. The file is scanned once at the level of
protobuf's wire format; every tensor above 1 KiB is replaced by a reference to its own bytes in that file (ONNX's
external-data form). What remains is a few hundred kilobytes of structure that can be walked and cut freely, and
onnxruntime maps the weights it really needs from the file itself.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray

from inspector.errors import ModelError, listing

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

INLINE_LIMIT = 1024
"""Tensors of at most this many bytes (shapes, scalars, small biases) stay in the structure."""

MAX_STRUCTURE_BYTES = 256 * 1024 * 1024
"""A structure without its weights that is larger than this is not a network."""

MAX_NODES = 200_000
"""Nodes that local functions may expand to; the largest networks of pictures have some thousands."""

# Field numbers of onnx.proto3; https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_ATTRIBUTE, _ATTRIBUTE_TENSOR = 5, 5
_TENSOR_FLOATS, _TENSOR_RAW, _TENSOR_DOUBLES = 4, 9, 10
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
_EXTERNAL = 1  # TensorProto.DataLocation.EXTERNAL
_GRAPHS = (5, 10)  # AttributeProto.GRAPH and GRAPHS

_SELF = "\0self"  # marks a reference into the .onnx itself while scanning; no file can have this name

# Recursion plan of the scanner: field number -> plan of the message in it; None marks a TensorProto.
_TENSOR: None = None
_Plan = dict[int, Any]
_ATTRIBUTE: _Plan = {_ATTRIBUTE_TENSOR: _TENSOR}
_NODE: _Plan = {_NODE_ATTRIBUTE: _ATTRIBUTE}
_GRAPH: _Plan = {_GRAPH_NODE: _NODE, _GRAPH_INITIALIZER: _TENSOR}
_MODEL: _Plan = {_MODEL_GRAPH: _GRAPH}


@dataclass(frozen=True)
class Input:
    """One input of a graph as the file declares it.

    shape: an int where the size is fixed, a str where it is symbolic, None where nothing is said; None for no rank.
    dtype: the numpy name of the element type, e.g. ``"float32"``.
    """

    name: str
    shape: tuple[int | str | None, ...] | None
    dtype: str


@dataclass(frozen=True)
class Cut:
    """A part of a graph, ready for a session.

    leftover: graph inputs that the part reads besides the tensors it was cut at. A head may read nothing but the
    *shape* of the picture there (torch's flatten does); ``shape_only`` says so for each.
    """

    proto: ModelProto
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    leftover: tuple[str, ...]
    shape_only: bool


@dataclass(frozen=True)
class Graph:
    """The structure of one .onnx file. Made by :func:`read_graph`; never changed afterwards.

    proto: the ModelProto with weights above 1 KiB as references, Constant nodes turned into initializers and inlined
    local functions. Tensor names are those of the file.
    sha256: hex digest of the whole file.
    """

    path: Path
    sha256: str
    size: int
    proto: ModelProto
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]
    _identity: tuple[int, int, int] = field(repr=False, default=(0, 0, 0))

    @property
    def nodes(self) -> Sequence[NodeProto]:
        """The nodes in topological order."""
        nodes: Sequence[NodeProto] = self.proto.graph.node
        return nodes

    @property
    def folder(self) -> Path:
        """The folder that external-data locations are relative to."""
        return self.path.resolve().parent

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
    def parameters(self) -> int:
        """Number of elements in floating-point initializers."""
        return sum(int(np.prod(t.dims, dtype=np.int64)) for t in self.initializers.values() if t.data_type in _FLOATS)

    def weight(self, name: str) -> NDArray[Any]:
        """The initializer `name` as a read-only array in the dtype and shape of the file.

        Large tensors are mapped, not read: the bytes come from disk when they are touched.
        Raises ModelError when there is no such initializer or its bytes are not where the file says.
        """
        tensor = self.initializers.get(name)
        if tensor is None:
            raise ModelError(f"the model has no initializer named {name!r}")
        return self.tensor_array(tensor)

    def tensor_array(self, tensor: TensorProto) -> NDArray[Any]:
        """Any TensorProto of this graph as an array; see :meth:`weight`."""
        from onnx import helper, numpy_helper

        try:
            if tensor.data_location != _EXTERNAL:
                return numpy_helper.to_array(tensor)
            reference = _reference(tensor)
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(f"tensor {tensor.name!r} of {self.path.name} cannot be read: {error}") from None
        self.check_unchanged()
        shape = tuple(tensor.dims)
        if 0 in shape:
            return np.zeros(shape, dtype)
        array: NDArray[Any] = np.memmap(
            self.folder / reference.location, dtype, mode="r", offset=reference.offset, shape=shape
        )
        return array

    def check_unchanged(self) -> None:
        """Raises ModelError when the file on disk is no longer the one that was read."""
        try:
            now = _identity(self.path.stat())
        except OSError as error:
            raise ModelError(f"{self.path} cannot be read any more: {error.strerror}") from None
        if now != self._identity:
            raise ModelError(f"{self.path} was changed while it was open", "open it again")

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
        """The part of the graph between `inputs` (default: the graph's own) and `outputs`, and nothing else.

        outputs: tensor names. inputs: tensor names that become inputs of the part.
        Raises ModelError for a tensor that the graph does not have.
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
        shape_only = all(
            self.nodes[i].op_type in ("Shape", "Size")
            for name in leftover
            for i in self.consumers_of[name]
            if i in nodes
        ) and not set(leftover) & set(outputs)

        source = self.proto.graph
        part = onnx.ModelProto()
        part.ir_version = max(self.proto.ir_version, 4)  # before 4 every initializer had to be an input too
        part.opset_import.extend(self.proto.opset_import)
        part.producer_name = self.proto.producer_name
        part.graph.name = source.name or "graph"
        part.graph.node.extend(self.nodes[i] for i in sorted(nodes))
        reached = outside | set(outputs)  # an output may itself be an input or a constant
        part.graph.initializer.extend(t for t in source.initializer if t.name in reached and t.name not in wanted)
        part.graph.sparse_initializer.extend(
            t for t in source.sparse_initializer if t.values.name in reached and t.values.name not in wanted
        )
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


@dataclass(frozen=True)
class _Reference:
    location: str
    offset: int
    length: int


def read_graph(path: str | os.PathLike[str]) -> Graph:
    """Read the structure of an .onnx file; weights stay in the file.

    Raises ModelError: no such file, not an ONNX model, truncated, operators of a domain nobody knows, external data
    that is missing, outside the model's folder, behind a link or too short.
    """
    given = Path(path)
    try:
        with given.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModelError(f"{given} is not a file", "give the path of an .onnx file")
            if status.st_size == 0:
                raise ModelError(f"{given} is empty (0 bytes)", "give the path of an .onnx file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
                digest = hashlib.sha256(view).hexdigest()
                structure = _scan(view, given)
    except FileNotFoundError:
        raise ModelError(f"there is no file {given}", "give the path of an .onnx file") from None
    except IsADirectoryError:
        raise ModelError(f"{given} is a folder", "give the path of an .onnx file") from None
    except OSError as error:
        raise ModelError(f"{given} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # an embedded null byte in the path
        raise ModelError(f"{str(given)!r} is not a path: {error}") from None
    proto = _parse(structure, given)
    _resolve(proto, given, status.st_size)
    proto = _normalise(proto, given)
    initial = {t.name for t in proto.graph.initializer} | {t.values.name for t in proto.graph.sparse_initializer}
    graph = Graph(
        path=given,
        sha256=digest,
        size=status.st_size,
        proto=proto,
        inputs=tuple(_input(v, given) for v in proto.graph.input if v.name not in initial),
        outputs=tuple(v.name for v in proto.graph.output),
        metadata={p.key: p.value for p in proto.metadata_props},
        _identity=_identity(status),
    )
    _check(graph)
    return graph


def copy_with_metadata(graph: Graph, target: Path, metadata: Mapping[str, str]) -> None:
    """Write the file of `graph` to `target` with these model-level metadata entries added or replaced.

    Everything else is copied byte for byte, so weights, names and node metadata are untouched.
    """
    graph.check_unchanged()
    with (
        graph.path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,
        target.open("wb") as out,
    ):
        for number, _, start, body, end in _fields(view, 0, len(view), graph.path):
            if number == _MODEL_METADATA:
                entry = onnx.StringStringEntryProto.FromString(bytes(view[body:end]))
                if entry.key in metadata:
                    continue
            for chunk in range(start, end, 1 << 24):
                out.write(view[chunk : min(end, chunk + (1 << 24))])
        for key, value in metadata.items():
            entry = onnx.StringStringEntryProto(key=key, value=value)
            out.write(_message(_MODEL_METADATA, entry.SerializeToString()))


def node_inputs(node: NodeProto) -> Iterator[str]:
    """Every tensor that a node reads, those used inside the bodies of If, Loop and Scan included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs) if attribute.type in _GRAPHS else ():
            inner = {v.name for v in body.input} | {t.name for t in body.initializer}
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
    try:
        value = onnx.helper.get_attribute_value(attribute)
    except ValueError:  # of no known type
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if attribute.type == onnx.AttributeProto.STRINGS:
        return [v.decode("utf-8", "replace") for v in value]
    return list(value) if attribute.type in (6, 7) else value


# --- scanning -----------------------------------------------------------------------------------------------------

_FLOATS = frozenset({1, 10, 11, 16})  # FLOAT, FLOAT16, DOUBLE, BFLOAT16
_NOT_ONNX = "export it again, or give another file"


def _varint(view: memoryview, at: int, end: int, path: Path) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ModelError(f"{path} is not an ONNX model, or is damaged (byte {at})", _NOT_ONNX)


def _fields(view: memoryview, at: int, end: int, path: Path) -> Iterator[tuple[int, int, int, int, int]]:
    """(field number, wire type, start of the field, start of its payload, end) of each field of a message."""
    while at < end:
        start = at
        key, at = _varint(view, at, end, path)
        number, wire = key >> 3, key & 7
        if wire == 2:
            length, at = _varint(view, at, end, path)
            stop = at + length
        elif wire == 0:
            _, stop = _varint(view, at, end, path)
        elif wire in (1, 5):
            stop = at + (8 if wire == 1 else 4)
        else:
            raise ModelError(f"{path} is not an ONNX model, or is damaged (byte {start})", _NOT_ONNX)
        if stop > end:
            what = "is truncated" if end == len(view) else "is not an ONNX model, or is damaged"
            raise ModelError(f"{path} {what}: it ends {stop - end} bytes early at byte {start}", _NOT_ONNX)
        if number == 0:
            raise ModelError(f"{path} is not an ONNX model, or is damaged (byte {start})", _NOT_ONNX)
        yield number, wire, start, at, stop
        at = stop


def _scan(view: memoryview, path: Path) -> bytes:
    """The model's bytes with every large tensor payload replaced by a reference into the file."""
    out = bytearray()
    _rewrite(view, 0, len(view), _MODEL, out, path)
    return bytes(out)


def _rewrite(view: memoryview, start: int, end: int, plan: _Plan, out: bytearray, path: Path) -> None:
    for number, wire, begin, body, stop in _fields(view, start, end, path):
        if wire != 2 or number not in plan or stop - body <= INLINE_LIMIT:
            out += view[begin:stop]
        else:
            inner = bytearray()
            child = plan[number]
            if child is None:
                _rewrite_tensor(view, body, stop, inner, path)
            else:
                _rewrite(view, body, stop, child, inner, path)
            out += _message(number, inner)
        if len(out) > MAX_STRUCTURE_BYTES:
            raise ModelError(f"{path} has more than 256 MB of structure besides its weights", _NOT_ONNX)


def _rewrite_tensor(view: memoryview, start: int, end: int, out: bytearray, path: Path) -> None:
    for number, wire, begin, body, stop in _fields(view, start, end, path):
        payload = number in (_TENSOR_RAW, _TENSOR_FLOATS, _TENSOR_DOUBLES) and wire == 2
        if not payload or stop - body <= INLINE_LIMIT:
            out += view[begin:stop]
            continue
        # Packed float_data and double_data are little-endian arrays, exactly as raw_data is.
        for key, value in (("location", _SELF), ("offset", body), ("length", stop - body)):
            entry = onnx.StringStringEntryProto(key=key, value=str(value))
            out += _message(_TENSOR_EXTERNAL, entry.SerializeToString())
        out += bytes(((_TENSOR_LOCATION << 3), _EXTERNAL))


def _message(number: int, payload: bytes | bytearray) -> bytes:
    return _encode((number << 3) | 2) + _encode(len(payload)) + payload


def _encode(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


# --- from bytes to a checked graph --------------------------------------------------------------------------------


def _parse(structure: bytes, path: Path) -> ModelProto:
    from google.protobuf.message import DecodeError

    try:
        proto: ModelProto = onnx.ModelProto.FromString(structure)
    except (DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        raise ModelError(f"{path} is not an ONNX model, or is damaged", _NOT_ONNX) from None
    if not proto.HasField("graph") or not (proto.graph.node or proto.graph.initializer):
        raise ModelError(f"{path} is not an ONNX model: it holds no graph", _NOT_ONNX)
    # protobuf hands out names that are not UTF-8 as bytes.
    if not all(isinstance(text, str) for text in _texts(proto)):
        raise ModelError(f"{path} is not an ONNX model, or is damaged: a name in it is not text", _NOT_ONNX)
    return proto


def _texts(proto: ModelProto) -> Iterator[object]:
    """Every string of the structure that something here reads."""
    yield from (proto.producer_name, proto.producer_version, proto.graph.name)
    yield from (opset.domain for opset in proto.opset_import)
    yield from (text for entry in proto.metadata_props for text in (entry.key, entry.value))
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        yield value.name
        yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
    for tensor in _tensors(proto):
        yield tensor.name
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))
    for function in proto.functions:
        yield from (function.name, function.domain, *function.input, *function.output, *function.attribute)
    nodes = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    while nodes:
        node = nodes.pop()
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (text for entry in node.metadata_props for text in (entry.key, entry.value))
        for attribute in node.attribute:
            yield attribute.name
            for body in (attribute.g, *attribute.graphs) if attribute.type in _GRAPHS else ():
                yield from (value.name for value in (*body.input, *body.output, *body.initializer))
                nodes.extend(body.node)


def _tensors(proto: ModelProto) -> Iterator[TensorProto]:
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
                graphs.extend((attribute.g, *attribute.graphs) if attribute.type in _GRAPHS else ())
        nodes.clear()


def _reference(tensor: TensorProto) -> _Reference:
    entries = {e.key: e.value for e in tensor.external_data}
    reference = _Reference(entries["location"], int(entries.get("offset", 0)), int(entries.get("length", -1)))
    if reference.offset < 0 or reference.length < -1:
        raise ValueError("negative offset or length")
    return reference


def _resolve(proto: ModelProto, path: Path, size: int) -> None:
    """Checks every reference and names the real file in those that point into the model itself."""
    real = path.resolve()
    checked: dict[str, int] = {}
    for tensor in _tensors(proto):
        expected = _byte_length(tensor, path)
        if tensor.data_location != _EXTERNAL:
            held = _held_bytes(tensor)
            if None not in (expected, held) and held != expected:
                raise ModelError(
                    f"{path} is damaged: tensor {tensor.name!r} has {held} bytes where its shape needs {expected}",
                    _NOT_ONNX,
                )
            continue
        try:
            reference = _reference(tensor)
        except (KeyError, ValueError):
            raise ModelError(f"{path}: the external data of tensor {tensor.name!r} is malformed", _NOT_ONNX) from None
        inside = reference.location == _SELF
        if inside:
            try:
                next(e for e in tensor.external_data if e.key == "location").value = real.name
            except ValueError:
                raise ModelError(f"the name of {path} is not UTF-8, which an .onnx needs", "rename the file") from None
            available = size
        else:
            if reference.location not in checked:
                checked[reference.location] = _external_size(path, reference.location)
            available = checked[reference.location]
        length = reference.length if reference.length >= 0 else expected
        if expected is None or length != expected:
            raise ModelError(
                f"{path} is damaged: tensor {tensor.name!r} has {length} bytes where its shape needs {expected}",
                _NOT_ONNX,
            )
        if reference.offset + expected > available:
            raise ModelError(
                f"{path}: tensor {tensor.name!r} reaches to byte {reference.offset + expected} of "
                f"{real.name if inside else reference.location}, which has {available}",
                "the external data file is truncated or belongs to another model",
            )


def _external_size(path: Path, location: str) -> int:
    """Size in bytes of an external data file that is safe to read; the rules of onnx.checker and two more."""
    where = Path(location)
    hint = "keep external data beside the model as a plain file, or save the model as one file"
    if not location or "\0" in location:
        raise ModelError(f"{path}: an external data location is empty or malformed", hint)
    if where.is_absolute() or ".." in where.parts or "\\" in location or ":" in location:
        raise ModelError(f"{path}: external data {location!r} points outside the model's folder", hint)
    here = path.parent
    for part in where.parts:
        here = here / part
        if here.is_symlink():
            raise ModelError(f"{path}: external data {location!r} is behind a symbolic link", hint)
    try:
        status = here.stat()
    except OSError:
        raise ModelError(f"{path}: external data file {location!r} is missing", f"put it in {path.parent}") from None
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{path}: external data {location!r} is not a plain file", hint)
    if status.st_nlink > 1:
        raise ModelError(f"{path}: external data {location!r} is behind a hard link", hint)
    if here.resolve().parent != path.resolve().parent / where.parent:
        raise ModelError(f"{path}: external data {location!r} does not lie beside the model's own file", hint)
    return status.st_size


def _byte_length(tensor: TensorProto, path: Path) -> int | None:
    """Bytes that dims and dtype ask for; None for types without a fixed size (strings, 4-bit)."""
    count = 1
    for size in tensor.dims:
        if size < 0:
            raise ModelError(f"{path} is damaged: tensor {tensor.name!r} has a negative size", _NOT_ONNX)
        count *= size
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except KeyError:
        raise ModelError(f"{path}: tensor {tensor.name!r} has an unknown data type ({tensor.data_type})") from None
    if dtype.itemsize == 0 or dtype.kind == "O" or tensor.data_type in _SUB_BYTE:
        return None
    return count * dtype.itemsize


def _held_bytes(tensor: TensorProto) -> int | None:
    """Bytes of values in the tensor itself; None for types whose values are packed."""
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    if tensor.data_type in _TYPED:
        name, size = _TYPED[tensor.data_type]
        return len(getattr(tensor, name)) * size
    return None


_TYPED = {
    1: ("float_data", 4), 2: ("int32_data", 1), 3: ("int32_data", 1), 4: ("int32_data", 2), 5: ("int32_data", 2),
    6: ("int32_data", 4), 7: ("int64_data", 8), 9: ("int32_data", 1), 10: ("int32_data", 2), 11: ("double_data", 8),
    12: ("uint64_data", 4), 13: ("uint64_data", 8), 16: ("int32_data", 2),
}  # fmt: skip
"""By data type: the field that holds the values where they are not raw, and the size of one."""

_SUB_BYTE = frozenset({21, 22, 23})  # UINT4, INT4, FLOAT4E2M1


def _normalise(proto: ModelProto, path: Path) -> ModelProto:
    """Local functions inlined, Constant nodes as initializers: one form for everything that reads a graph."""
    if proto.functions:
        proto = _inlined(proto, path)
    nodes = []
    copies: dict[str, str] = {}
    constants = {t.name for t in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Identity" and len(node.input) == len(node.output) == 1 and node.input[0] in constants:
            # Exporters that share equal weights write the sharing as Identity nodes.
            copies[node.output[0]] = copies.get(node.input[0], node.input[0])
            constants.add(node.output[0])
        constant = _constant(node) if node.op_type == "Constant" and is_standard(node) else None
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


def _inlined(proto: ModelProto, path: Path) -> ModelProto:
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
    """Raises ModelError for functions that call themselves, or that forty lines of text blow up to 2^40 nodes."""
    bodies = {(f.domain, f.name): list(f.node) for f in proto.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Iterable[NodeProto], calling: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in bodies and key not in sizes:
                if key in calling or len(calling) > 100:
                    raise ModelError(f"{path} is damaged: local function {node.op_type!r} calls itself", _NOT_ONNX)
                sizes[key] = size(_with_bodies(bodies[key]), (*calling, key))
            total += sizes.get(key, 1)
        if total > MAX_NODES:
            raise ModelError(f"{path} has local functions that expand to more than {MAX_NODES} nodes", _NOT_ONNX)
        return total

    size(_with_bodies(proto.graph.node), ())


def _constant(node: NodeProto) -> TensorProto | None:
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


def _input(value: onnx.ValueInfoProto, path: Path) -> Input:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return Input(value.name, None, kind or "unknown")
    tensor = value.type.tensor_type
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    except KeyError:
        raise ModelError(f"{path}: input {value.name!r} has an unknown data type ({tensor.elem_type})") from None
    return Input(value.name, shape_of(value), dtype)


def shape_of(value: onnx.ValueInfoProto) -> tuple[int | str | None, ...] | None:
    """The declared shape: int, symbol or None per dimension; None when not even the rank is known."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else (d.dim_param or None) for d in tensor.shape.dim
    )


def _with_bodies(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """These nodes, and those in the bodies of If, Loop and Scan."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs) if attribute.type in _GRAPHS else ():
                yield from _with_bodies(body.node)


_NOT_INFERRED = "not.inferred"


def infer_types(proto: ModelProto) -> list[onnx.ValueInfoProto]:
    """Types and shapes of the tensors of a structure by onnx's shape inference; empty where it fails."""
    # onnx counts a Range out number by number, and 10^11 of them take a hundred bytes to ask for: not inferred.
    if any(node.op_type == "Range" for node in _with_bodies(proto.graph.node)):
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        for node in _with_bodies(copy.graph.node):
            if node.op_type == "Range":
                node.domain = _NOT_INFERRED
        copy.opset_import.add(domain=_NOT_INFERRED, version=1)
        for function in copy.functions:
            function.opset_import.add(domain=_NOT_INFERRED, version=1)
        proto = copy
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except Exception:  # a C++ error type of the onnx package; a run will tell the shapes
        return []
    return [*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input]


KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})
"""Operator domains that onnxruntime's published packages implement."""


def _check(graph: Graph) -> None:
    unknown: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.domain not in KNOWN_DOMAINS:
            unknown.setdefault(node.domain, []).append(node.op_type)
    if unknown:
        names = listing([f"{d}:{op}" for d, ops in unknown.items() for op in dict.fromkeys(ops)])
        raise ModelError(
            f"{graph.path} uses operators that onnxruntime does not have: {names}",
            "export the model with standard ONNX operators",
        )
    _check_nodes(graph)
    made: set[str] = {i.name for i in graph.inputs} | graph.initializers.keys()
    made |= {t.values.name for t in graph.proto.graph.sparse_initializer}
    for node in graph.nodes:
        if missing := [name for name in node_inputs(node) if name not in made]:
            raise ModelError(
                f"{graph.path} is damaged: node {node.name or node.op_type!r} reads {missing[0]!r}, "
                "which nothing before it makes",
                _NOT_ONNX,
            )
        if again := [name for name in node.output if name and name in made]:
            raise ModelError(f"{graph.path} is damaged: tensor {again[0]!r} is made twice", _NOT_ONNX)
        made.update(name for name in node.output if name)
    if not graph.outputs:
        raise ModelError(f"{graph.path} has no output", _NOT_ONNX)
    if missing := [name for name in graph.outputs if name not in made]:
        raise ModelError(f"{graph.path} is damaged: nothing makes its output {missing[0]!r}", _NOT_ONNX)


def _check_nodes(graph: Graph) -> None:
    """Raises ModelError where a standard operator lacks an input or has an attribute of another kind than it should.

    What reads the graph afterwards may then rely on them. An operator or version that the onnx package does not know
    is left to onnxruntime.
    """
    known: dict[str, tuple[int, int, dict[str, int]]] = {}
    if not 1 <= graph.opset <= 1000:
        raise ModelError(f"{graph.path} is damaged: it says opset {graph.opset}", _NOT_ONNX)
    for node in graph.nodes:
        if not any(node.output):
            raise ModelError(f"{graph.path} is damaged: node {node.name or node.op_type!r} makes nothing", _NOT_ONNX)
        if not is_standard(node):
            continue
        if node.op_type not in known:
            known[node.op_type] = _signature(node.op_type, graph.opset)
        inputs, outputs, kinds = known[node.op_type]
        if len(node.input) < inputs or len(node.output) < outputs:
            raise ModelError(
                f"{graph.path} is damaged: node {node.name or node.op_type!r} has {len(node.input)} inputs and "
                f"{len(node.output)} outputs where {node.op_type} needs {inputs} and {outputs}",
                _NOT_ONNX,
            )
        for attribute in node.attribute:
            if attribute.type != kinds.get(attribute.name, attribute.type):
                raise ModelError(
                    f"{graph.path} is damaged: attribute {attribute.name!r} of node {node.name or node.op_type!r} "
                    f"is of the wrong type",
                    _NOT_ONNX,
                )


def _signature(op: str, opset: int) -> tuple[int, int, dict[str, int]]:
    """(least number of inputs, of outputs, attribute types) of a standard operator; no demands for an unknown one."""
    try:
        schema = onnx.defs.get_schema(op, opset, "")
    except Exception:  # a C++ error type of the onnx package
        return 0, 1, {}
    return schema.min_input, schema.min_output, {k: int(cast(Any, a.type).value) for k, a in schema.attributes.items()}


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return (status.st_ino, status.st_size, status.st_mtime_ns)
