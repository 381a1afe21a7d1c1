"""What a finished file has beside its nodes: exposed layers and metadata."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto

from exporters.quantizing.quantizable import declare_output, find_answer
from inspector.graph import operator_of, restore_interface
from inspector.layers import Layer
from inspector.metadata import KEY, LayerEntry
from inspector.model import Model
from inspector.model.inputs import list_given
from inspector.version import __version__


def finish_file(
    source: Model, proto: onnx.ModelProto, to: str, expose: str, kept: tuple[str, ...], pictures: int
) -> onnx.ModelProto:
    """Make the finished file of a network: with exposed layers and metadata.

    Args:
        source: The float model that it was made from.
        proto: The network that was made.
        to: ``int8`` or ``fp16``.
        expose: ``free``, ``all`` or ``none``.
        kept: Layers that stay in float.
        pictures: How many pictures it was calibrated on.
    """
    final = onnx.ModelProto()
    final.CopyFrom(proto)
    made = {name: node for node in final.graph.node for name in node.output}
    layers = [layer for layer in source.layers if layer.tensor in made]
    if to == "fp16":
        _expose(final, source, [x for x in layers if x.exposed and expose != "none"], TensorProto.FLOAT16)
    else:
        inner = {node.input[0] for node in final.graph.node if operator_of(node).integer_form == "range"}
        chosen = [x for x in layers if x.exposed and (expose == "all" or (expose == "free" and x.tensor not in inner))]
        _expose(final, source, chosen)
    restore_interface(final, source.graph)
    document = source.metadata.with_(
        layers=tuple(LayerEntry(x.name, x.tensor, x.kind, x.aliases) for x in layers),
        inputs=list_given(source.graph),
        output=source.metadata.output or find_answer(source),
        activation=source.metadata.activation or (source.classifier.activation if source.classifier else None),
        source={
            **source.metadata.source,
            "quantised": {"to": to, "from": source.digest, "float_layers": list(kept), "pictures": pictures},
        },
        versions={**source.metadata.versions, "inspector": __version__, "onnx": onnx.__version__},
    )
    del final.metadata_props[:]
    for key, value in {**source.graph.metadata, KEY: document.dumps()}.items():
        final.metadata_props.add(key=key, value=value)
    return final


def _expose(final: onnx.ModelProto, source: Model, layers: Sequence[Layer], dtype: int = TensorProto.FLOAT) -> None:
    there = {value.name for value in final.graph.output}
    for layer in layers:
        if layer.tensor not in there:
            output = declare_output(source, layer.tensor)
            output.type.tensor_type.elem_type = dtype
            final.graph.output.append(output)
