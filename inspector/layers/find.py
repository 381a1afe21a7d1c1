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


def find_layers(graph: Graph, entries: Sequence[LayerEntry] = ()) -> Layers:
    """Find the layers of a graph, in topological order.

    Args:
        graph: The graph.
        entries: The list in the metadata. Where it is empty, or names nothing that the graph has, the layers are found.
    """
    known = [e for e in entries if e.tensor in graph.producer_of]
    found = _from_entries(graph, known) if known else _from_graph(graph)
    unique = make_unique(found)
    outputs = set(graph.outputs)
    return Layers(replace(layer, exposed=layer.tensor in outputs) for layer in unique)


def _from_graph(graph: Graph) -> list[Layer]:
    finder = Finder(graph)
    found = finder.find()
    layers = []
    for part, (name, aliases) in zip(found, Namer(finder, found).make_names(), strict=True):
        tensor = graph.nodes[part.last].output[0]
        last = finder.is_channels_last(tensor)
        layers.append(Layer(name, tensor, part.kind, finder.shape(tensor), False, last, aliases))
    return layers


def _from_entries(graph: Graph, entries: Iterable[LayerEntry]) -> list[Layer]:
    finder = Finder(graph)
    order = {e.tensor: graph.producer_of[e.tensor] for e in entries}
    return [
        Layer(
            name=e.name,
            tensor=e.tensor,
            kind=e.kind,
            shape=finder.shape(e.tensor),
            exposed=False,
            channels_last=finder.is_channels_last(e.tensor),
            aliases=e.aliases,
        )
        for e in sorted(entries, key=lambda e: order[e.tensor])
    ]
