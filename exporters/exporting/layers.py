"""The layers of an exported graph, each with a value in torch, and the names that they get."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from exporters.exporting.checks import ExportError
from exporters.exporting.trace import BATCH, INPUT
from exporters.sources.needs import torch
from inspector.cam.choose import choose_last_places
from inspector.errors import UsageError
from inspector.graph import Graph
from inspector.layers import Layer, find_layer, find_layers

_SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True)
class TracedLayer:
    """A layer, and the name its tensor had when torch's exporter was done, which is the name of an fx node."""

    layer: Layer
    before: str


def name_layers(
    graph: Graph,
    program: torch.export.ExportedProgram,
    finals: Mapping[str, str],
    rename: Callable[[str], str] | None,
    aliases: Mapping[str, Sequence[str]],
) -> list[TracedLayer]:
    """Find the layers of a graph as torch wrote it, each with a value in torch, under the names they will have.

    Args:
        graph: What torch's exporter wrote.
        program: What it wrote that from.
        finals: Name of a graph output -> the name that it will have.
        rename: Turns a module path into a layer name; None keeps it.
        aliases: Further names of a layer, by its name.

    Raises:
        ExportError: A layer has no counterpart in torch, or the new names are not unique.
    """
    found = _match_layers(graph, program)
    taken = {INPUT, *finals.values()}
    names = _rename_all([layer.name for layer in found], rename)
    planned: list[TracedLayer] = []
    claimed = set(names)  # a name that another layer has belongs to that layer alone, an alias to the last
    for layer, name in reversed(list(zip(found, names, strict=True))):
        tensor = finals.get(layer.tensor) or (name if name not in taken else f"{name}.tensor")
        others = (layer.name, *layer.aliases, *aliases.get(layer.name, ()), *aliases.get(name, ()))
        if rename is not None:
            others = (*others, *(rename(alias) for alias in layer.aliases))
        kept = tuple(alias for alias in dict.fromkeys(others) if alias not in claimed)
        claimed.update(kept)
        planned.append(TracedLayer(replace(layer, name=name, tensor=tensor, aliases=kept), layer.tensor))
    return planned[::-1]


def _match_layers(graph: Graph, program: torch.export.ExportedProgram) -> list[Layer]:
    """Find the layers whose tensor is the value of an fx node.

    Some operators of torch become several nodes of ONNX (a group norm: reshape, instance norm, multiply, add). What is
    found inside one is moved to the operator's result, or left out when the result is a layer already.
    """
    nodes = {node.name: node for node in program.graph.nodes}
    layers = find_layers(graph)
    taken = {layer.tensor for layer in layers}
    matched: list[Layer] = []
    for layer in layers:
        if layer.tensor in nodes:
            matched.append(layer)
            continue
        operator = _find_fx_name(graph, layer.tensor)
        if operator not in nodes:
            raise ExportError(f"layer {layer.name!r} of the exported graph has no counterpart in torch")
        if operator in taken or operator not in graph.producer_of:
            continue
        taken.add(operator)
        shape = tuple(n if isinstance(n, int) else BATCH for n in nodes[operator].meta["val"].shape)
        matched.append(replace(layer, tensor=operator, shape=shape))
    return sorted(matched, key=lambda layer: graph.producer_of[layer.tensor])


def _find_fx_name(graph: Graph, tensor: str) -> str:
    """Find the fx node that the ONNX node making `tensor` was written for; empty when it does not say."""
    node = graph.nodes[graph.producer_of[tensor]]
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            scopes = ast.literal_eval(entry.value)
            return str(scopes[-1]) if scopes else ""
    return ""


def _rename_all(names: Sequence[str], rename: Callable[[str], str] | None) -> list[str]:
    """Make new names, as unique as the old; where two would meet, the later keeps its own."""
    if rename is None:
        return list(names)
    taken: set[str] = set()
    result = []
    for name in names:
        new = rename(name)
        new = name if new in taken else new
        taken.add(new)
        result.append(new)
    if len(taken) != len(names):
        raise ExportError("the new layer names are not unique")
    return result


def choose_cam_layer(graph: Graph, planned: Sequence[TracedLayer], scores: str) -> str | None:
    """Choose the layer that class activation maps look at, as they do for a file without metadata.

    Args:
        graph: What torch's exporter wrote.
        planned: All layers, in topological order.
        scores: Name of the scores in that graph.

    Returns:
        The name of the layer, or None where no layer has maps.
    """
    found = choose_last_places(graph, [replace(x.layer, tensor=x.before) for x in planned], scores)
    return found and found[0].name


def is_maps(layer: Layer) -> bool:
    """Return whether it is (N, C, H, W) of a picture; the attention of tokens to tokens only looks like it."""
    known = layer.shape is not None and len(layer.shape) == 4 and layer.spatial
    return known and layer.kind != "softmax" and layer.grid is None


def choose_exposed(planned: Sequence[TracedLayer], expose: str | Sequence[str]) -> list[Layer]:
    """Choose the layers to expose, in topological order.

    Args:
        planned: All layers.
        expose: ``features``, ``all``, or names as a list or with commas.

    Raises:
        ExportError: There are no features.
        UsageError: No layer is named.
        LayerNotFound: A name is no layer.
    """
    layers = [p.layer for p in planned]
    if expose == "all":
        return list(layers)
    if expose == "features":
        features = [layer for layer in layers if is_maps(layer)]
        if not features:
            raise ExportError(
                f"none of the {len(layers)} layers holds maps larger than 1x1", "use --expose all, or name layers"
            )
        return features
    names = expose.split(",") if isinstance(expose, str) else expose
    wanted = {find_layer(layers, name).name for name in names if name.strip()}
    if not wanted:
        raise UsageError("no layer was named to be exposed", "use --expose features, all, or NAME,NAME")
    return [layer for layer in layers if layer.name in wanted]
