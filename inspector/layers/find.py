"""The layers of a graph: the tensors a person would look at, under names a person would use.

Our own exports carry the list in their metadata. For every other file it is found here: which nodes matter, which
belong together (a convolution with its norm, x * sigmoid(x)), what they are called, and which axis holds the channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from inspector.graph import Graph
from inspector.layers.candidates import Finder
from inspector.layers.layer import Layer, Layers
from inspector.layers.names import Namer, make_unique
from inspector.metadata import LayerEntry


def find_layers(
    graph: Graph,
    entries: Sequence[LayerEntry] = (),
    size: tuple[int, int] | None = None,
    block: int | None = None,
) -> Layers:
    """Find the layers of a graph, in topological order.

    Args:
        graph: The graph.
        entries: The list in the metadata. Where it is empty, or names nothing that the graph has, the layers are found.
        size: (H, W) of the pictures, where the graph does not fix it.
        block: Channels in a block, for a file of onnxruntime's optimiser; see :func:`inspector.runtime.measure_block`.
            Layers in blocks of which too little is known are left out.
    """
    known = [e for e in entries if e.tensor in graph.producer_of]
    finder = Finder(graph, size, block)
    found = _from_entries(finder, known) if known else _from_graph(finder)
    unique = make_unique(found)
    outputs = set(graph.outputs)
    return Layers(replace(layer, exposed=layer.tensor in outputs) for layer in unique)


def _from_graph(finder: Finder) -> list[Layer]:
    found = finder.find()
    named = zip(found, Namer(finder, found).make_names(), strict=True)
    layers = []
    for part, (name, aliases) in named:
        layer = _make_layer(finder, LayerEntry(name, finder.nodes[part.last].output[0], part.kind, aliases))
        if layer is not None:
            indices = sorted({part.first, *part.inside, part.last})
            names = [finder.nodes[index].name for index in indices]
            layers.append(replace(layer, nodes=tuple(filter(None, names))))
    return layers


def _from_entries(finder: Finder, entries: Iterable[LayerEntry]) -> list[Layer]:
    order = finder.graph.producer_of
    made = (_make_layer(finder, e) for e in sorted(entries, key=lambda e: order[e.tensor]))
    return [layer for layer in made if layer is not None]


def _make_layer(finder: Finder, entry: LayerEntry) -> Layer | None:
    tensor = finder.find_opened(entry.tensor)
    if tensor is None:
        return None
    layout = finder.find_layout(tensor)
    node = finder.nodes[finder.graph.producer_of[entry.tensor]].name
    return Layer(
        name=entry.name,
        tensor=tensor,
        kind=entry.kind,
        shape=layout.shape,
        exposed=False,
        channels_last=layout.channels_last,
        aliases=entry.aliases,
        grid=layout.grid,
        places=layout.places,
        arrangement=layout.arrangement,
        nodes=(node,) if node else (),
    )
