"""Which layer of tokens to look at in a classifier that looks at its picture through attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from inspector.graph import Graph, operator_of, value_inputs
from inspector.layers import Layer
from inspector.reverse.head import Head, find_bottlenecks, find_head

if TYPE_CHECKING:
    from onnx import NodeProto


def choose_last_tokens(graph: Graph, layers: Sequence[Layer], output: str) -> tuple[Layer, Head] | None:
    """Choose the last tokens that every way to the scores passes through and whose places the scores still depend on.

    Behind the last attention of a vision transformer only the class token goes on: nothing that happens to the other
    tokens there changes a score, and the gradient of all of them is zero by arithmetic.

    Args:
        graph: The graph.
        layers: Its layers, in topological order.
        output: The tensor that is explained, the scores of a classifier.

    Returns:
        The layer and its head; None where no such layer lies over the picture as one whole grid.
    """
    necks = find_bottlenecks(graph, output)
    for layer in reversed(layers):
        if layer.tensor not in necks or not layer.spatial or layer.kind == "linear":
            continue
        head = find_head(graph, layer.tensor, output)
        if head.bottleneck and head.weighted and _mixes_places(graph, layers, head):
            found = _find_norm(graph, layers, layer, head)
            # Behind tokens in an order that is not known, those before them are not the last.
            return found if _has_whole_grid(found[0]) else None
    return None


def _find_norm(graph: Graph, layers: Sequence[Layer], layer: Layer, head: Head) -> tuple[Layer, Head]:
    """The norm that the last attention looks at tokens through, where their places go on through nothing else.

    A few tokens of the sum before it are far longer than the others (Darcet et al. 2023, arXiv:2309.16588). The class
    token goes around the norm, the places do not.
    """
    for norm in layers:
        if norm.kind == "norm" and norm.tensor in head.moving and _has_whole_grid(norm) and norm.name != layer.name:
            behind = find_head(graph, norm.tensor, head.output)
            around = find_head(graph, layer.tensor, head.output, [norm.tensor])
            if _mixes_places(graph, layers, behind) and not _mixes_places(graph, layers, around):
                return norm, behind
    return layer, head


def is_convolved(graph: Graph, layer: Layer) -> bool:
    """Whether maps are what convolutions have found: several of them, and no attention before.

    Patches of the picture times weights are not, and neither are maps from the middle of a transformer.

    Args:
        graph: The graph.
        layer: A layer with maps.
    """
    nodes, _ = graph.needed([layer.tensor])
    before = [graph.nodes[i] for i in nodes if not graph.from_picture.isdisjoint(graph.nodes[i].output)]
    weighted = sum(operator_of(node).weighted for node in before)
    return weighted > 1 and not any(_mixes_rows(node, graph.from_picture) for node in before)


def _has_whole_grid(layer: Layer) -> bool:
    """Whether its tokens are the places of the picture one by one, in one row and in no windows."""
    lies = layer.arrangement
    return layer.grid is not None and (lies is None or lies.parts == 1)


def _mixes_places(graph: Graph, layers: Sequence[Layer], head: Head) -> bool:
    """Whether tokens are mixed on the way to the scores, so that more than a picked one of them has a say there.

    They are where two tensors that both depend on them are multiplied as matrices, as attention does, and in a pool.
    All else works on each token by itself, or picks some.
    """
    pools = {layer.tensor for layer in layers if layer.kind == "pool"}
    path = [graph.nodes[i] for i in head.path]
    return any(_mixes_rows(node, head.moving) or not pools.isdisjoint(node.output) for node in path)


def _mixes_rows(node: NodeProto, moving: frozenset[str]) -> bool:
    """Whether each row of its output depends on all rows of its input, where `moving` tensors depend on the places."""
    row = operator_of(node)
    by_itself = row.elementwise or row.keeps_axes or row.joins or row.picks
    return row.mixes_rows or (not by_itself and len(moving.intersection(value_inputs(node))) > 1)
