"""Which layer to look at when none is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from inspector.cam.tokens import choose_last_tokens, is_convolved
from inspector.errors import LayerNotFound, NotComputable, listing
from inspector.graph import Graph
from inspector.layers import Layer, LayerNames, find_layer, find_token_grid, move_channels_first
from inspector.model import Model
from inspector.reverse.head import Head, find_bottlenecks, find_head

_NO_CANDIDATE = frozenset({"pool", "resize", "softmax", "picture"})
"""Kinds that only move, spread or rescale what the layer before them found."""

ChosenLayers = tuple[tuple[Layer, ...], tuple[Head, ...], str]


def choose_cam_layers(model: Model, output: str, names: Sequence[str] | None) -> ChosenLayers:
    """(layers, their heads, why): the named ones, else the file's own choice, else the last that all passes through.

    Args:
        model: The model.
        output: The tensor that is explained.
        names: The layers that were named, if any.

    Raises:
        LayerNotFound: There is no such layer.
        NotComputable: For layers that have no maps or do not lead to the output.
    """
    known = measure_shapes(model, names or ())
    if names:
        layers = tuple(dict.fromkeys(find_layer(known, name) for name in names))
        heads = tuple(find_head(model.graph, layer.tensor, output) for layer in layers)
        for layer, head in zip(layers, heads, strict=True):
            if _is_attention(layer):
                raise NotComputable(
                    f"layer {layer.name!r} is attention of tokens to tokens, {_shape(layer)}: its cells are no "
                    "places of the picture",
                    f"layers with maps: {listing(_names_with_maps(known))}",
                )
            if not _has_maps(layer) and find_token_grid(model.layers, layer) is None:
                raise NotComputable(
                    f"layer {layer.name!r} has no maps to weigh: its shape is {_shape(layer)}",
                    f"layers with maps: {listing(_names_with_maps(known))}",
                )
            if not head.connected:
                raise NotComputable(f"layer {layer.name!r} does not lead to {output!r}", "choose a layer before it")
        return layers, heads, "the layer asked for" if len(layers) == 1 else "the layers asked for, averaged"
    aside = ""
    if model.metadata.cam_layer is not None:
        try:
            layer = find_layer(known, model.metadata.cam_layer)
            head = find_head(model.graph, layer.tensor, output)
            if (_has_maps(layer) or layer.grid is not None) and not _is_attention(layer) and head.connected:
                return (layer,), (head,), "the layer that the file's metadata names"
            aside = f"; the metadata's {layer.name!r} does not lead to the output with maps"
        except LayerNotFound:
            aside = f"; the metadata's {model.metadata.cam_layer!r} is not in the file"
    choose = choose_last_maps if model.classifier is None else choose_last_places
    found = choose(model.graph, known, output)
    if found is None:
        raise NotComputable(
            f"{model.path} has no layer with maps larger than 1x1 before {output!r}",
            "class activation maps need a convolutional network",
        )
    layer, head, why = found
    return (layer,), (head,), why + aside


def choose_last_places(graph: Graph, layers: Sequence[Layer], output: str) -> tuple[Layer, Head, str] | None:
    """Choose the layer of a classifier: the last maps, or the tokens of a transformer behind them.

    Maps that several convolutions have found are taken before tokens that are made of them. This is the choice
    wherever none is made for a classifier, and what an export writes into its file.

    Args:
        graph: The graph.
        layers: Its layers, in topological order, with shapes.
        output: The scores of the classes.

    Returns:
        The layer, its head, and why it was chosen; None where no layer with more than one place leads there.
    """
    maps = choose_last_maps(graph, layers, output)
    if maps is not None and is_convolved(graph, maps[0]):
        return maps
    tokens = choose_last_tokens(graph, layers, output)
    order = graph.producer_of
    if tokens is None or (maps is not None and order[tokens[0].tensor] < order[maps[0].tensor]):
        return maps
    return *tokens, f"the last tokens{_size(tokens[0])} whose places the scores still depend on"


def choose_last_maps(graph: Graph, layers: Sequence[Layer], output: str) -> tuple[Layer, Head, str] | None:
    """Choose the last layer with maps before the last weights that everything passes through, or the nearest to that.

    Args:
        graph: The graph.
        layers: Its layers, in topological order, with shapes.
        output: The tensor that is explained.

    Returns:
        The layer, its head, and why it was chosen; None where no layer with maps larger than 1x1 leads there.
    """
    before_weights: tuple[Layer, Head] | None = None
    last_neck: tuple[Layer, Head] | None = None
    last: tuple[Layer, Head] | None = None
    necks = find_bottlenecks(graph, output)
    for layer in reversed(layers):
        if not _has_maps(layer) or layer.kind in _NO_CANDIDATE or (last is not None and layer.tensor not in necks):
            continue
        head = find_head(graph, layer.tensor, output)
        if not head.connected or not head.path:
            continue
        last = last or (layer, head)
        if head.bottleneck:
            last_neck = last_neck or (layer, head)
            if head.weighted:
                before_weights = (layer, head)
                break
    if before_weights is not None:
        return *before_weights, f"the last maps{_size(before_weights[0])} that every way to the scores passes through"
    if last_neck is not None:
        return *last_neck, f"the last maps{_size(last_neck[0])}; they are the scores themselves before pooling"
    if last is not None:
        return *last, f"the last maps{_size(last[0])} on the way to the scores; other ways lead around them"
    return None


def measure_shapes(model: Model, names: Sequence[str]) -> Sequence[Layer]:
    """The model's layers; where the file tells no shape, or not how many tokens a named one has, as a run shows it."""
    wanted = {find_layer(model.layers, name).name for name in names}
    missing = [x for x in model.layers if x.shape is None or (x.name in wanted and _has_open_tokens(x))]
    if not missing:
        return model.layers
    size = model.preprocess.size or (224, 224)
    sides = (*size, model.input.channels) if model.input.layout == "NHWC" else (model.input.channels, *size)
    values = model.run(np.zeros((model.input.batch or 1, *sides), model.input.dtype), [x.tensor for x in missing])
    return [replace(x, shape=_first(values[x.tensor].shape, x)) if x in missing else x for x in model.layers]


def _has_open_tokens(layer: Layer) -> bool:
    """Whether a layer has axes behind its channels whose size the file does not tell."""
    return layer.shape is not None and len(layer.shape) == 3 and not isinstance(layer.shape[2], int)


def _first(shape: tuple[int, ...], layer: Layer) -> tuple[int, ...]:
    """The shape with channels on axis 1."""
    return move_channels_first(np.broadcast_to(np.float32(0), shape), layer).shape


def _has_maps(layer: Layer) -> bool:
    """Whether it has rows and columns. Tokens count where they are asked for: often only the class token goes on."""
    return layer.grid is None and layer.shape is not None and len(layer.shape) == 4 and layer.spatial


def _names_with_maps(layers: Sequence[Layer]) -> list[str]:
    """The names of layers with maps, the last first."""
    return [x.name for x in reversed(layers) if _has_maps(x) and not _is_attention(x)]


def _is_attention(layer: Layer) -> bool:
    """Whether a layer holds what every token gives to every other."""
    return not layer.places and layer.shape is not None and len(layer.shape) >= 4 and layer.spatial


def _shape(layer: Layer) -> str:
    return "(" + ", ".join("?" if s is None else str(s) for s in layer.shape or ()) + ")"


def _size(layer: Layer) -> str:
    sizes = layer.shape[2:] if layer.shape else ()
    return f" ({sizes[0]}x{sizes[1]})" if len(sizes) == 2 and all(isinstance(s, int) for s in sizes) else ""


def names_of(model: Model, layers: LayerNames) -> tuple[str, ...]:
    """The names of layers that are given as such or by name; a name stays as it is, for a message about it."""
    if isinstance(layers, str):
        return (layers,)
    given = model.choose_layers(layers) if isinstance(layers, Layer) else layers
    return tuple(x if isinstance(x, str) else model.layer(x).name for x in given)
