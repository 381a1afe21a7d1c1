"""The finished file: the network as it was, what was added behind it, and the metadata that says so."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from exporters.attaching.workbench import AttachError, Workbench
from inspector.graph import infer_types, restore_interface
from inspector.metadata import KEY
from inspector.model import Model, make_picture_shape
from inspector.model.annotate import complete_metadata
from inspector.version import __version__

_LARGEST = 2**31 - 1
"""Bytes that a file may have whose weights lie inside."""


def finish_attached(bench: Workbench) -> onnx.ModelProto:
    """Make the model of a network and what was added to it.

    Raises:
        AttachError: The file would be larger than the format allows, or onnx's checker finds a fault in it.
    """
    source, graph = bench.model, bench.graph
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    proto.ir_version = max(proto.ir_version, 4)  # before 4 every initializer had to be an input too
    nodes, constants = bench.write.list_needed([one.name for one in bench.outputs])
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    proto.graph.output.extend(
        helper.make_tensor_value_info(one.name, onnx.TensorProto.FLOAT, list(one.shape)) for one in bench.outputs
    )
    _declare(proto, source)
    restore_interface(proto, source.graph)
    document = complete_metadata(source, source.preprocess, source.metadata.labels).with_(
        attached=tuple(one.entry for one in bench.outputs),
        versions={**source.metadata.versions, "inspector": __version__, "onnx": onnx.__version__},
    )
    del proto.metadata_props[:]
    for key, value in {**source.graph.metadata, KEY: document.dumps()}.items():
        proto.metadata_props.add(key=key, value=value)
    _check(proto)
    return proto


def _declare(proto: onnx.ModelProto, source: Model) -> None:
    """Say the type and the number of axes of outputs that the source says nothing of: onnx's checker wants both."""
    silent = [value for value in proto.graph.output if not value.type.tensor_type.HasField("shape")]
    if not silent:
        return
    inferred = {value.name: value for value in infer_types(proto)}
    picture = np.zeros(make_picture_shape(source), source.input.dtype)
    for value in silent:
        found = inferred.get(value.name)
        if found is not None and found.type.tensor_type.HasField("shape"):
            value.type.CopyFrom(found.type)
            continue
        made = source.run(picture, [value.name])[value.name]
        kind = helper.np_dtype_to_tensor_dtype(made.dtype)
        value.CopyFrom(helper.make_tensor_value_info(value.name, kind, [None] * made.ndim))


def _check(proto: onnx.ModelProto) -> None:
    if proto.ByteSize() > _LARGEST:
        raise AttachError(
            f"the file would have {proto.ByteSize() / 1e9:.1f} GB, and 2.1 GB is the most with the weights inside",
            "attach to a smaller variant (inspector quantize)",
        )
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise AttachError(f"onnx's checker refuses the file: {error}", "export the model again") from None
