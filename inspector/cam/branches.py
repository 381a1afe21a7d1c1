"""The branches of a detector's head: from the maps that class and box both look at to the scores of one scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from inspector.graph import Graph, operator_of, value_inputs
from inspector.records import record
from inspector.reverse import Head, find_head

_Shape = Callable[[str], tuple[int, ...] | None]
_LONGEST = 64
_ROUNDED = 0.1
"""How far a size may be from the half of another, since odd ones are rounded."""


@record
class Branch:
    """The way from a layer's maps to the scores of the places of one scale.

    Attributes:
        end: The tensor that holds the scores, as the last weights make it.
        head: What lies between the layer and it.
    """

    end: str
    head: Head

    @property
    def layer(self) -> str:
        """The tensor of the layer."""
        return self.head.layer


def find_branch(graph: Graph, end: str, shape: _Shape) -> Branch | None:
    """Find the maps that the scores of one scale are computed from.

    They are the nearest ones before `end` that something else is computed from too, as the sides of the boxes are, and
    of which a score sees more than one cell. Where branches part nowhere before other maps are joined in, they are what
    the last weights look at.

    Args:
        graph: The graph.
        end: The tensor that holds the scores.
        shape: Tensor -> its shape, None where that is not known.

    Returns:
        The branch; None where the scores do not come from maps.
    """
    last = graph.producer_of.get(end)
    if last is None or not _is_map(shape(end)) or not graph.nodes[last].input:
        return None
    first: str | None = None
    parted: str | None = None
    inside, wide = {last}, _is_wide(graph, last, shape)
    tensor = str(graph.nodes[last].input[0])
    while tensor in graph.from_picture and _is_map(shape(tensor)):
        first = first or tensor
        if parted is None and any(i not in inside for i in _readers(graph, tensor)):
            parted = tensor
        if parted is not None and wide:
            return Branch(end, find_head(graph, tensor, end))
        before = _step_back(graph, tensor)
        if before is None:
            break
        tensor, nodes = before
        inside |= nodes
        wide = wide or any(_is_wide(graph, i, shape) for i in nodes)
    chosen = parted or first
    return Branch(end, find_head(graph, chosen, end)) if chosen is not None else None


@record
class Level:
    """Maps that are coarser than those of the scores, on the way to them.

    Attributes:
        head: What lies between them and the scores.
        places: (rows, columns) of the maps.
    """

    head: Head
    places: tuple[int, int]


def find_levels(graph: Graph, end: str, shape: _Shape) -> tuple[Level, ...]:
    """Find the coarser maps that the scores of a head with one scale are computed from, the coarsest first.

    Of each size, which is that of the scores halved again and again, they are the nearest before the scores: where they
    are enlarged. Of the coarsest those are taken of which a cell behind them sees more than one.

    Args:
        graph: The graph.
        end: The tensor that holds all scores.
        shape: Tensor -> its shape, None where that is not known.
    """
    own = shape(end)
    if own is None or not _is_map(own):
        return ()
    nearest: dict[tuple[int, int], str] = {}
    waiting, seen = {end}, {end}
    while waiting:
        tensor = max(waiting, key=lambda name: graph.producer_of[name])
        waiting.remove(tensor)
        size = shape(tensor)
        if size is not None and _is_map(size) and _is_halved(own, size):
            nearest.setdefault((size[2], size[3]), tensor)
        node = graph.nodes[graph.producer_of[tensor]]
        before = {n for n in value_inputs(node) if n in graph.from_picture and n in graph.producer_of} - seen
        waiting |= before
        seen |= before
    found: list[Level] = []
    for places, tensor in sorted(nearest.items()):
        if not found:
            tensor = _widen(graph, tensor, shape)
        head = find_head(graph, tensor, end)
        if head.connected and not head.unknown:
            found.append(Level(head, places))
    return tuple(found)


def _is_halved(own: Sequence[int], size: Sequence[int]) -> bool:
    """Whether maps are 2, 4, 8 or 16 times as coarse as the scores, and no pooled vector."""
    if min(size[2:]) < 2:
        return False
    times = [own[axis] / size[axis] for axis in (2, 3)]
    return any(all(abs(one / whole - 1) < _ROUNDED for one in times) for whole in (2, 4, 8, 16))


def _widen(graph: Graph, tensor: str, shape: _Shape) -> str:
    """The nearest maps of the same size before, of which a cell of these sees more than one; else these."""
    size, name = shape(tensor), tensor
    while True:
        before = _step_back(graph, name)
        earlier = None if before is None else shape(before[0])
        if before is None or size is None or earlier is None or tuple(earlier[2:]) != tuple(size[2:]):
            return tensor
        name, nodes = before
        if any(_is_wide(graph, i, shape) for i in nodes):
            return name


def _readers(graph: Graph, tensor: str) -> list[int]:
    """The nodes that read the values of a tensor, and not only its shape."""
    return [i for i in graph.consumers_of.get(tensor, ()) if tensor in value_inputs(graph.nodes[i])]


def _step_back(graph: Graph, tensor: str) -> tuple[str, set[int]] | None:
    """(the nearest tensor before that all of this one comes through, the nodes between); None where others join in."""
    waiting = {tensor}
    nodes: set[int] = set()
    for _ in range(_LONGEST):
        made = [(graph.producer_of[name], name) for name in waiting if name in graph.producer_of]
        if len(made) < len(waiting):
            return None
        index, _ = max(made)
        node = graph.nodes[index]
        row = operator_of(node)
        moving = {name for name in node.input if name in graph.from_picture}
        alone = len(moving) == 1
        if not alone and not row.elementwise:
            return None
        if len(waiting) > 1 and not row.elementwise:
            return None
        nodes.add(index)
        waiting = (waiting - set(node.output)) | moving
        if len(waiting) == 1:
            return next(iter(waiting)), nodes
    return None


def _is_wide(graph: Graph, index: int, shape: _Shape) -> bool:
    """Whether a cell behind a node sees more than one cell before it."""
    node = graph.nodes[index]
    row = operator_of(node)
    if row.weighted and len(node.input) > 1:
        kernel = shape(node.input[1])
        return kernel is not None and any(side > 1 for side in kernel[2:])
    return not row.elementwise


def _is_map(shape: Sequence[int] | None) -> bool:
    return shape is not None and len(shape) == 4 and min(shape) > 0
