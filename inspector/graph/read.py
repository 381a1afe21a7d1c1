"""From the path of an .onnx file to a checked graph."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from inspector import onnx
from inspector.errors import ModelError, say_no_path, wrong_type
from inspector.graph.check import check_graph
from inspector.graph.digest import FileDigest
from inspector.graph.element_types import find_numpy_type
from inspector.graph.external import identify_file, resolve_references
from inspector.graph.graph import Graph, Input
from inspector.graph.nodes import GRAPHS, iterate_tensors
from inspector.graph.normalise import normalise_model
from inspector.graph.shapes import read_shape
from inspector.graph.wire import MODEL_METADATA, NOT_ONNX, encode_message, scan_fields, scan_model
from inspector.guard import add_inputs

if TYPE_CHECKING:
    from onnx import ModelProto


_ORT = b"ORTM"
"""What onnxruntime's own files hold behind their first four bytes: the identifier of a flat buffer."""


def read_graph(path: str | os.PathLike[str], allow_links: Sequence[str | os.PathLike[str]] = ()) -> Graph:
    """Read the structure of an .onnx file; weights stay in the file.

    Args:
        path: The file.
        allow_links: Folders that links to external data may lead into. A model that is opened through a link may have
            its data behind links into the same folder as it is; any other link is refused.

    Raises:
        ModelError: No such file, not an ONNX model, truncated, operators of a domain nobody knows, external data that
            is missing, outside the model's folder, behind a link or too short.
    """
    if not isinstance(path, str | os.PathLike):
        raise wrong_type("a model", path, "give the path of an .onnx file")
    given = Path(path)
    with ExitStack() as opened:
        view, status = _map_file(given, opened)
        identity = identify_file(status)
        digest = FileDigest(given, identity)
        opened.push(digest.end_with)
        proto = _parse(scan_model(view, given), given)
        allowed = tuple(Path(folder).absolute() for folder in allow_links)
        outside = resolve_references(proto, given, status.st_size, allowed)
        add_inputs("the data of the model", [path for path, _ in outside.files])
        proto = normalise_model(proto, given)
        initial = {t.name for t in proto.graph.initializer}
        graph = Graph(
            path=given,
            size=status.st_size + sum(size for _, (_, size, _) in outside.files),
            proto=proto,
            inputs=tuple(_input(v, given) for v in proto.graph.input if v.name not in initial),
            outputs=tuple(v.name for v in proto.graph.output),
            metadata={p.key: p.value for p in proto.metadata_props},
            folder=outside.folder,
            allow_links=allowed,
            _identities=((given, identity), *outside.files),
            _hashed=digest,
        )
        check_graph(graph)
        return graph


def _map_file(given: Path, opened: ExitStack) -> tuple[memoryview, os.stat_result]:
    """The bytes of a file until `opened` is closed, and its status; raises ModelError as `read_graph` says."""
    try:
        if stat.S_ISFIFO(given.stat().st_mode):  # opening it would wait for somebody to write
            raise ModelError(f"{given} is a pipe, not a file", "write the model to a file first")
        file = opened.enter_context(given.open("rb"))
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{given} is not a file", "give the path of an .onnx file")
        if status.st_size == 0:
            raise ModelError(f"{given} is empty (0 bytes)", "give the path of an .onnx file")
        mapped = opened.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError:
        raise ModelError(f"there is no file {given}", "give the path of an .onnx file") from None
    except IsADirectoryError:
        raise ModelError(f"{given} is a folder", "give the path of an .onnx file") from None
    except OSError as error:
        raise ModelError(f"{given} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # an embedded null byte in the path
        raise ModelError(say_no_path(given, error)) from None
    view = opened.enter_context(memoryview(mapped))
    if bytes(view[4:8]) == _ORT:
        form = "in onnxruntime's own format (.ort), which holds no ONNX graph"
        raise ModelError(f"{given} is {form}", "give the .onnx that it was made of")
    return view, status


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
        for number, _, start, body, end in scan_fields(view, 0, len(view), graph.path):
            if number == MODEL_METADATA:
                entry = onnx.StringStringEntryProto.FromString(bytes(view[body:end]))
                if entry.key in metadata:
                    continue
            for chunk in range(start, end, 1 << 24):
                out.write(view[chunk : min(end, chunk + (1 << 24))])
        for key, value in metadata.items():
            entry = onnx.StringStringEntryProto(key=key, value=value)
            out.write(encode_message(MODEL_METADATA, entry.SerializeToString()))


def _parse(structure: bytes, path: Path) -> ModelProto:
    from google.protobuf.message import DecodeError

    try:
        proto: ModelProto = onnx.ModelProto.FromString(structure)
    except (DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        raise ModelError(f"{path} is not an ONNX model, or is damaged", NOT_ONNX) from None
    if not proto.HasField("graph") or not (proto.graph.node or proto.graph.initializer):
        raise ModelError(f"{path} is not an ONNX model: it holds no graph", NOT_ONNX)
    # protobuf hands out names that are not UTF-8 as bytes.
    if not all(isinstance(text, str) for text in _texts(proto)):
        raise ModelError(f"{path} is not an ONNX model, or is damaged: a name in it is not text", NOT_ONNX)
    return proto


def _texts(proto: ModelProto) -> Iterator[object]:
    """Every string of the structure that something here reads."""
    yield from (proto.producer_name, proto.producer_version, proto.graph.name)
    yield from (opset.domain for opset in proto.opset_import)
    yield from (text for entry in proto.metadata_props for text in (entry.key, entry.value))
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        yield value.name
        yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
    for tensor in iterate_tensors(proto):
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
            for body in (attribute.g, *attribute.graphs) if attribute.type in GRAPHS else ():
                yield from (value.name for value in (*body.input, *body.output, *body.initializer))
                nodes.extend(body.node)


def _input(value: onnx.ValueInfoProto, path: Path) -> Input:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return Input(value.name, None, kind or "unknown")
    tensor = value.type.tensor_type
    dtype = find_numpy_type(tensor.elem_type)
    if dtype is None:
        raise ModelError(f"{path}: input {value.name!r} has an unknown data type ({tensor.elem_type})")
    return Input(value.name, read_shape(value), dtype.name)
