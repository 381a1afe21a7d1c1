"""The file: tensors renamed, layers exposed, metadata written, and nothing of the exporting machine left in it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import onnx_ir as ir

from exporters.exporting.layers import TracedLayer
from exporters.exporting.trace import LOGITS
from exporters.sources import Source
from exporters.sources.needs import torch
from inspector.layers import Layer
from inspector.metadata import KEY, Activation, LayerEntry, Metadata
from inspector.version import __version__


def finish_graph(
    model: ir.Model,
    planned: Sequence[TracedLayer],
    tensors: Mapping[str, str],
    exposed: Iterable[str],
    metadata: Metadata,
    rename: Callable[[str], str] | None,
) -> None:
    """Rename, expose, strip and annotate a model in place.

    Args:
        model: What torch's exporter wrote.
        planned: The layers.
        tensors: Name of a tensor as it is -> name to be.
        exposed: Tensors, by their new names, that become outputs.
        metadata: What is written into the file.
        rename: Turns a module path into a name, for the weights.
    """
    graph = model.graph
    values = {v.name: v for v in _values(model)}
    wanted = {values[before]: after for before, after in tensors.items()}
    new_names = set(wanted.values())
    for value in values.values():
        if value not in wanted and value.name in new_names:
            value.name = f"{value.name}.value"
    for value in wanted:
        value.name = f"\0{value.name}"  # out of the way first, since old and new names overlap
    for value, name in wanted.items():
        value.name = name
    for p in planned:
        node = values[p.before].producer()
        assert node is not None
        node.name = p.layer.name
    if rename is not None:
        for value in list(graph.initializers.values()):
            assert value.name is not None
            name = rename(value.name)
            if name not in graph.initializers and name not in new_names:
                value.name = name
    by_name = {value.name: value for value in wanted}
    present = set(graph.outputs)
    graph.outputs.extend(by_name[name] for name in exposed if by_name[name] not in present)
    _strip(model)
    model.metadata_props[KEY] = metadata.dumps()


def _values(model: ir.Model) -> Iterable[ir.Value]:
    yield from model.graph.inputs
    yield from model.graph.initializers.values()
    for node in model.graph.all_nodes():
        yield from node.outputs


def _strip(model: ir.Model) -> None:
    """Remove every trace of the exporting machine: torch notes paths and source lines on nodes, values and graphs."""
    model.metadata_props.clear()
    model.doc_string = None
    for graph in model.graphs():
        graph.metadata_props.clear()
        graph.doc_string = None
        for value in (*graph.inputs, *graph.initializers.values(), *graph.outputs):
            _strip_value(value)
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                _strip_value(value)


def _strip_value(value: ir.Value) -> None:
    value.metadata_props.clear()
    value.doc_string = None
    if value.const_value is not None:
        value.const_value.metadata_props.clear()
        value.const_value.doc_string = None


def make_metadata(
    origin: Source,
    layers: Sequence[Layer],
    opset: int,
    activation: Activation,
    licence: str | None,
    training: Mapping[str, Any] | None,
    cam_layer: str | None,
) -> Metadata:
    """Make the metadata of a file.

    Args:
        origin: The network.
        layers: Its layers, in topological order.
        opset: Version of the operator set.
        activation: What makes probabilities of the scores.
        licence: Of the weights; None for the source's.
        training: What is known of the training.
        cam_layer: Name of the layer that class activation maps look at; None where no layer has maps.
    """
    versions = {"inspector": __version__, "opset": str(opset), "torch": torch.__version__}
    library = origin.provenance.get("library")
    for package in ("onnxscript", *([library] if isinstance(library, str) else [])):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return Metadata(
        preprocess=origin.preprocess,
        labels=origin.labels,
        layers=tuple(LayerEntry(x.name, x.tensor, x.kind, x.aliases) for x in layers),
        cam_layer=cam_layer,
        output=LOGITS,
        activation=activation,
        source=dict(origin.provenance),
        training=dict(training or {}),
        licence=licence or origin.licence,
        versions=versions,
    )
