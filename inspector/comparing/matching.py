"""Which layer of one network is which of another: by name, by weights, by their order."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import Literal

import numpy as np

from inspector.graph import Graph, operator_of
from inspector.layers import Layer
from inspector.model import Model

MatchKind = Literal["name", "structure", "values"]

_MOST_CELLS = 4_000_000
"""Cells of the table of the longest common subsequence; two stretches of 2000 layers each have as many."""


@dataclass(frozen=True)
class LayerMatch:
    """A layer of A and the layer of B that computes the same.

    Attributes:
        a: The layer of A.
        b: The layer of B.
        how: What told so.
    """

    a: Layer
    b: Layer
    how: MatchKind


@dataclass(frozen=True)
class Matching:
    """The layers of two networks, matched.

    Attributes:
        pairs: In the order of A.
        only_a: Layers of A without a counterpart.
        only_b: Layers of B without a counterpart.
    """

    pairs: tuple[LayerMatch, ...]
    only_a: tuple[Layer, ...]
    only_b: tuple[Layer, ...]


@dataclass
class LayerNodes:
    """The nodes between a layer and the layers before it.

    Attributes:
        graph: The graph.
        layer: The layer.
        nodes: Indices of the nodes.
    """

    graph: Graph
    layer: Layer
    nodes: tuple[int, ...]
    _digest: bytes | None = field(default=None, repr=False)

    @cached_property
    def weights(self) -> tuple[str, ...]:
        """Names of the initializers that hold the weights of its convolutions and matrix products."""
        found = []
        for i in self.nodes:
            node = self.graph.nodes[i]
            position = operator_of(node).weight
            if position is not None and position < len(node.input):
                name = self._follow(node.input[position])
                if name in self.graph.initializers:
                    found.append(name)
        return tuple(found)

    def _follow(self, name: str) -> str:
        """Past what dequantizes or casts a constant."""
        for _ in range(8):
            index = self.graph.producer_of.get(name)
            if index is None or not operator_of(self.graph.nodes[index]).passes:
                break
            name = self.graph.nodes[index].input[0]
        return name

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The sizes of the weights in ascending order, without ones: the same however they are laid out."""
        dims = (self.graph.initializers[name].dims for name in self.weights)
        return tuple(sorted(tuple(sorted(size for size in shape if size != 1)) for shape in dims))

    @cached_property
    def fan_in(self) -> int:
        """How many numbers are added up in one element at most, as far as weights tell."""
        found = 1
        for i in self.nodes:
            operator = operator_of(self.graph.nodes[i])
            if operator.weight is None or operator.weight >= len(self.graph.nodes[i].input):
                continue
            name = self._follow(self.graph.nodes[i].input[operator.weight])
            if name in self.graph.initializers:
                shape = tuple(self.graph.initializers[name].dims)
                rows = shape[operator.rows] if operator.rows is not None and len(shape) > 1 else 1
                found = max(found, prod(shape) // max(rows, 1))
        return found

    def count_rows(self) -> int:
        """How many output channels its first weights have."""
        for i in self.nodes:
            node = self.graph.nodes[i]
            operator = operator_of(node)
            if operator.weight is not None and self.weights:
                shape = tuple(self.graph.initializers[self.weights[0]].dims)
                axis = operator.rows_axis(node)
                return int(shape[axis if axis is not None else 0])
        return 0

    @property
    def key(self) -> Hashable:
        """What two layers that compute the same have in common, whatever they are called."""
        return (self.shapes or self.layer.kind, self.layer.channels)

    @property
    def form(self) -> Hashable:
        """The kind of the layer and how many channels it has."""
        return (self.layer.kind, self.layer.channels)

    @property
    def kind(self) -> str:
        """The kind of the layer."""
        return self.layer.kind

    @cached_property
    def digest(self) -> bytes:
        """Of the values of all weights; empty without weights."""
        if not self.weights:
            return b""
        total = hashlib.blake2b(digest_size=16)
        for name in self.weights:
            total.update(np.ascontiguousarray(self.graph.weight(name)).view(np.uint8).data)
        return total.digest()


def find_nodes(graph: Graph, layers: Sequence[Layer]) -> list[LayerNodes]:
    """The nodes that belong to each layer, in the order of the layers."""
    tensors = {layer.tensor for layer in layers}
    return [
        LayerNodes(graph, layer, tuple(sorted(graph.needed([layer.tensor], tensors - {layer.tensor})[0])))
        for layer in layers
    ]


class Matcher:
    """Matches the layers of A to those of B."""

    def __init__(self, a: Sequence[LayerNodes], b: Sequence[LayerNodes]) -> None:
        self.a, self.b = a, b
        self.found: dict[int, tuple[int, MatchKind]] = {}
        self.taken: set[int] = set()

    def match(self) -> Matching:
        """Match by name; where that leaves some, by weights first; then by order."""
        self._by_name("key")
        if len(self.found) < max(len(self.a), len(self.b)):
            # Names that count, as conv_7, mean another layer behind one that was added: weights know better.
            self.found.clear()
            self.taken.clear()
            self._by_digest()
            self._by_name("key")
            self._by_name("form")
            self._by_order(lambda nodes: nodes.key)
            self._by_order(lambda nodes: nodes.form)
            self._by_name("kind")
        return self.result()

    def result(self) -> Matching:
        """What is matched so far."""
        pairs = tuple(LayerMatch(self.a[i].layer, self.b[j].layer, how) for i, (j, how) in sorted(self.found.items()))
        only_a = tuple(x.layer for i, x in enumerate(self.a) if i not in self.found)
        only_b = tuple(x.layer for j, x in enumerate(self.b) if j not in self.taken)
        return Matching(pairs, only_a, only_b)

    def add(self, i: int, j: int, how: MatchKind) -> None:
        """Match layer i of A to layer j of B."""
        self.found[i] = (j, how)
        self.taken.add(j)

    def _by_name(self, same: Literal["key", "form", "kind"]) -> None:
        """Layers whose tensors have one name, then those of one name themselves."""
        for read in (_name_tensor, _name_layer):
            names = {read(x.layer): j for j, x in enumerate(self.b) if j not in self.taken}
            for i, x in enumerate(self.a):
                j = names.get(read(x.layer))
                if i in self.found or j is None or j in self.taken:
                    continue
                if getattr(x, same) == getattr(self.b[j], same):
                    self.add(i, j, "name")

    def _by_digest(self) -> None:
        """Layers whose weights no other layer of either network has."""
        digests = [[x.digest for x in side] for side in (self.a, self.b)]
        counts = [Counter(side) for side in digests]
        places = {digest: j for j, digest in enumerate(digests[1])}
        for i, digest in enumerate(digests[0]):
            if digest and counts[0][digest] == 1 and counts[1].get(digest) == 1:
                j = places[digest]
                self.add(i, j, "name" if self.a[i].layer.name == self.b[j].layer.name else "structure")

    def _by_order(self, key: Callable[[LayerNodes], Hashable]) -> None:
        """Between layers that are matched, the longest sequence of layers that both have in the same order."""
        anchors = self._find_monotone()
        edges = [(-1, -1), *anchors, (len(self.a), len(self.b))]
        for (i0, j0), (i1, j1) in pairwise(edges):
            ours = [i for i in range(i0 + 1, i1) if i not in self.found]
            theirs = [j for j in range(j0 + 1, j1) if j not in self.taken]
            keys = [key(self.a[i]) for i in ours], [key(self.b[j]) for j in theirs]
            for i, j in find_common_order(*keys):
                self.add(ours[i], theirs[j], "structure")

    def _find_monotone(self) -> list[tuple[int, int]]:
        """The longest chain of matches that are in order in both: branches may be written in another order."""
        pairs = sorted((i, j) for i, (j, _) in self.found.items())
        best: list[int] = []
        before: list[int] = []
        ends: list[int] = []
        for k, (_, j) in enumerate(pairs):
            place = int(np.searchsorted([pairs[e][1] for e in ends], j))
            before.append(ends[place - 1] if place else -1)
            ends[place : place + 1] = [k]
        k = ends[-1] if ends else -1
        while k >= 0:
            best.append(k)
            k = before[k]
        return [pairs[k] for k in reversed(best)]


def _name_tensor(layer: Layer) -> Hashable:
    return layer.tensor


def _name_layer(layer: Layer) -> Hashable:
    return layer.name


def find_common_order(first: Sequence[Hashable], second: Sequence[Hashable]) -> list[tuple[int, int]]:
    """The longest common subsequence of two sequences, as pairs of places.

    Example:
        >>> find_common_order("abcd", "bxd")
        [(1, 0), (3, 2)]
    """
    if not first or not second or len(first) * len(second) > _MOST_CELLS:
        return []
    # lengths[i][j]: of the rest from i and j on.
    lengths = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i in reversed(range(len(first))):
        row, below, wanted = lengths[i], lengths[i + 1], first[i]
        for j in reversed(range(len(second))):
            row[j] = below[j + 1] + 1 if wanted == second[j] else max(below[j], row[j + 1])
    found, i, j = [], 0, 0
    while i < len(first) and j < len(second):
        if first[i] == second[j]:
            found.append((i, j))
            i, j = i + 1, j + 1
        elif lengths[i + 1][j] >= lengths[i][j + 1]:
            i += 1
        else:
            j += 1
    return found


def match_layers(a: Model, b: Model) -> Matching:
    """Match the layers of two models without running them: by name, by weights, by their order.

    Args:
        a: One model.
        b: The other.

    Returns:
        The pairs, in the order of A, and what is only in one of them.
    """
    return match_nodes(find_nodes(a.graph, a.layers), find_nodes(b.graph, b.layers))


def match_nodes(a: Sequence[LayerNodes], b: Sequence[LayerNodes]) -> Matching:
    """The same for layers with what belongs to them."""
    return Matcher(a, b).match()
