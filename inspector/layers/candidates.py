"""Which nodes of a graph are layers, and which belong together in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from inspector.graph import Graph, attributes, find_blocked, has_blocks, operator_of, read_shape
from inspector.layers.arrangement import Arrangement, arrange
from inspector.layers.layer import Size
from inspector.layers.layout import find_picture_axis, infer_values, read_known_shape
from inspector.layers.places import PlaceWalk
from inspector.layers.tokens import TokenGrid
from inspector.layers.track import Track
from inspector.onnx import TensorProto
from inspector.records import record

if TYPE_CHECKING:
    from onnx import NodeProto, ValueInfoProto

_NO_MAPS = (TensorProto.INT64, TensorProto.BOOL)
_ANY_BLOCK = 4
"""Channels of the smallest blocks, where it only matters which tensors have some."""
_MAX_CHAIN = 24
"""Nodes of an activation written out; gelu by tanh has ten, and each may be quantised."""


@dataclass
class Candidate:
    """A layer that has no name yet.

    Attributes:
        first: Index of the node that it is named after.
        last: Index of the node that makes its tensor.
        kind: The kind of layer.
        inside: The other nodes that it consists of, and that no one else reads.
    """

    first: int
    last: int
    kind: str
    inside: frozenset[int] = frozenset()


@record
class TensorLayout:
    """How a tensor is laid out.

    Attributes:
        shape: As it is shown, channels first; None where nothing is known.
        channels_last: Its channels stand on the last axis.
        grid: How its tokens lie over the picture.
        arrangement: Where its pictures and channels lie, where that is unusual.
        places: Whether its rows and columns are places of the picture.
    """

    shape: tuple[Size, ...] | None
    channels_last: bool
    grid: TokenGrid | None = None
    arrangement: Arrangement | None = None
    places: bool = True


class Finder:
    """Everything that is worked out about one graph while its layers are looked for."""

    def __init__(self, graph: Graph, size: tuple[int, int] | None = None, block: int | None = None) -> None:
        self.graph = graph
        self.size = size
        self.block = block or 0
        self.blocked: dict[str, int | None] = find_blocked(graph, block or _ANY_BLOCK) if has_blocks(graph) else {}
        self.nodes = list(graph.nodes)
        self.operators = [operator_of(node) for node in self.nodes]
        self.data = graph.from_picture
        self.outputs = set(graph.outputs)
        self._last: set[str] | None = None
        self._axes: dict[str, int | None] = {}

    # --- shapes and where the channels lie ------------------------------------------------------------------------

    def shape(self, tensor: str) -> tuple[Size, ...] | None:
        """The shape, channels first; from the file where it says so, else by shape inference."""
        declared = self.graph.value_infos.get(tensor)
        shape = read_shape(declared) if declared is not None else None
        if shape is None:
            inferred = self._values.get(tensor)
            shape = read_known_shape(inferred) if inferred is not None else None
        if shape is not None and len(shape) >= 3 and self.is_channels_last(tensor):
            return (shape[0], shape[-1], *shape[1:-1])
        return shape

    @cached_property
    def _values(self) -> dict[str, ValueInfoProto]:
        """Types and shapes by inference, which is paid for only where the file does not say them."""
        return infer_values(self.graph)

    @cached_property
    def _walk(self) -> PlaceWalk | None:
        """Where the places lie; None for a graph that leaves the axes of its maps as they are from end to end."""
        moved = any(
            node.op_type == "Transpose" or operator.normalises_last
            for node, operator in zip(self.nodes, self.operators, strict=True)
            if node.input and node.input[0] in self.data
        )
        return PlaceWalk(self.graph, self.size) if moved else None

    def find_layout(self, tensor: str) -> TensorLayout:
        """How a tensor is laid out, and how it is shown."""
        track = self._walk.tracks.get(tensor) if self._walk is not None else None
        laid = self._lay_out(tensor, track)
        attention = self._weighs_rows(tensor) if track is None else track.attention or not track.has_places()
        return replace(laid, places=not attention)

    def find_opened(self, tensor: str) -> str | None:
        """The tensor itself; for one in blocks the graph's own copy without them, where it has one.

        Returns:
            None for a tensor in blocks of which the size or the number of real channels is not known.
        """
        if tensor not in self.blocked:
            return tensor
        for reader in self.graph.consumers_of.get(tensor, ()):
            made: str = self.nodes[reader].output[0]
            if self.nodes[reader].op_type == "ReorderOutput" and made not in self.blocked:
                return made
        return tensor if self.block and self.blocked[tensor] is not None else None

    def _weighs_rows(self, tensor: str) -> bool:
        """Whether it is a softmax that weighs the rows of a matrix product, as attention does."""
        index = self.graph.producer_of.get(tensor)
        if index is None or self.operators[index].kind != "softmax":
            return False
        readers = self.graph.consumers_of.get(tensor, ())
        return any(self.operators[k].kind == "linear" and self.nodes[k].input[0] == tensor for k in readers)

    def _lay_out(self, tensor: str, track: Track | None) -> TensorLayout:
        if tensor in self.blocked:
            real = self.blocked[tensor]
            batch = (self.graph.inputs[0].shape or (None,))[0]
            return TensorLayout((batch, real, None, None), False, None, Arrangement(block=self.block, real=real))
        shape, last = self.shape(tensor), self.is_channels_last(tensor)
        found = arrange(track, self._walk.pictures) if track is not None and self._walk is not None else None
        if track is None or found is None:
            return TensorLayout(shape, last)
        arrangement, grid = found
        given = self.graph.inputs[0].shape or ()
        fixed = all(isinstance(s, int) for s in given[1:])
        own = arrangement.to_channels_first(np.broadcast_to(np.int8(0), track.shape)).shape
        sides: tuple[Size, ...] = (grid.height, grid.width) if grid is not None else own[2:]
        if arrangement.batch == 0 and arrangement.parts == 1 and grid is None:
            # Channels first or last, as far as the file tells its sizes.
            plain = arrangement.channel in (1, len(track.shape) - 1)
            if not plain or shape is None or len(shape) != len(own):
                return TensorLayout((given[0], *own[1:]), last, None, None if plain else arrangement)
            known = own if fixed else (None,) * len(own)
            told = (s if isinstance(s, int) or k is None else k for s, k in zip(shape[1:], known[1:], strict=True))
            return TensorLayout((shape[0], *told), last)
        return TensorLayout((given[0], own[1], *(sides if fixed else (None,) * len(sides))), last, grid, arrangement)

    def is_channels_last(self, tensor: str) -> bool:
        """Whether the tensor is laid out (N, H, W, C): as its places tell, else followed through Transpose nodes."""
        track = self._walk.tracks.get(tensor) if self._walk is not None else None
        axis = None if track is None or len(track.shape) < 3 else self._channel_axis(tensor, track)
        if track is not None and axis is not None:
            return axis == len(track.shape) - 1
        if self._last is None:
            self._last = self._follow_channels_last()
        return tensor in self._last

    def _channel_axis(self, tensor: str, track: Track) -> int | None:
        if tensor not in self._axes:
            self._axes[tensor] = track.find_channel_axis()
        return self._axes[tensor]

    def _follow_channels_last(self) -> set[str]:
        last = {self.graph.inputs[0].name} if self.graph.inputs and find_picture_axis(self.graph) == 3 else set()
        constant = self.graph.initializers
        for node, operator in zip(self.nodes, self.operators, strict=True):
            if node.op_type == "Transpose":
                perm = attributes(node).get("perm") or []
                rank = len(perm)
                if rank >= 3:
                    to_last = perm == [0, *range(2, rank), 1]
                    to_first = perm == [0, rank - 1, *range(1, rank - 1)]
                    inside = node.input[0] in last
                    if (to_last and not inside) or (inside and not to_first and perm[-1] == rank - 1):
                        last.update(node.output)
            elif node.op_type == "MatMul" and len(node.input) == 2 and node.input[1] in constant:
                # The contraction leaves the features on the last axis, whatever they were before.
                last.update(node.output)
            elif operator.is_channels_last(node):
                last.update(node.output)
            elif operator.keeps_layout or (operator.reduction and attributes(node).get("keepdims", 1)):
                sources = [name for name in node.input if name in self.data]
                if sources and all(name in last for name in sources):
                    last.update(node.output)
        return last

    # --- which nodes are layers -----------------------------------------------------------------------------------

    def find(self) -> list[Candidate]:
        """The layers, unnamed, in topological order."""
        hidden: set[int] = set()
        found: list[Candidate] = []
        for i, node in enumerate(self.nodes):
            if i in hidden or not node.output[0] or not any(name in self.data for name in node.input):
                continue
            candidate = self._find_candidate(i, node)
            if candidate is None:
                continue
            hidden |= candidate.inside | ({candidate.last} - {i})
            # A sigmoid found before the product that makes it a gate of its own input belongs to that product.
            found = [f for f in found if f.last not in candidate.inside]
            found.append(candidate)
        found = [f for f in found if self._looks_like_maps(self.nodes[f.last].output[0])]
        found += self._find_pictures({self.nodes[f.last].output[0] for f in found})
        found.sort(key=lambda f: f.last)
        return found

    def _find_pictures(self, known: set[str]) -> list[Candidate]:
        """The outputs that are pictures, whatever makes them: a super-resolution's, a denoiser's, a mask."""
        found = []
        for name in self.outputs - known:
            shape = self.shape(name) if name in self.data and name in self.graph.producer_of else None
            if shape is not None and len(shape) == 4 and shape[1] in (1, 3) and any(side != 1 for side in shape[2:]):
                index = self.graph.producer_of[name]
                found.append(Candidate(index, index, "picture"))
        return [f for f in found if self.nodes[f.last].output[0] in self.outputs]

    def _find_candidate(self, i: int, node: NodeProto) -> Candidate | None:
        operator = self.operators[i]
        data = [name for name in dict.fromkeys(node.input) if name in self.data]
        combines = operator.arithmetic or (operator.nonlinear and operator.operands == 0)
        if combines and len(data) == 2 and (written_out := self._find_written_out(i, data)):
            return written_out
        if operator.joins and len(data) < 2:
            return None
        if operator.kind == "linear" and any(name in self.data for name in self._weight_names(i)):
            return None  # a product of two tensors of the network, as in attention
        if operator.reduction and not self._is_spatial_reduction(node):
            return None
        if operator.weighted or node.op_type == "BatchNormalization" or self._is_group_norm(i):
            return self._fold(i, operator.kind)
        return Candidate(i, i, operator.kind) if operator.kind else None

    def _weight_names(self, i: int) -> Sequence[str]:
        """The input of node `i` that holds its weights, as a sequence of one or none."""
        position = self.operators[i].weight
        return () if position is None else self.nodes[i].input[position : position + 1]

    def _find_only_reader(self, tensor: str) -> int | None:
        """The node that alone reads `tensor`; None when several do or it is an output of the file."""
        readers = self.graph.consumers_of.get(tensor, [])
        return readers[0] if len(readers) == 1 and tensor not in self.outputs else None

    def _fold(self, first: int, kind: str) -> Candidate:
        """The convolution, linear or norm at `first` with its norm, bias and per-channel scale folded in."""
        nodes = [first]
        if self._is_group_norm(first):
            nodes.append(self.graph.consumers_of[self.nodes[first].output[0]][0])
        normed = self.operators[first].kind == "norm"
        while (reader := self._find_only_reader(self.nodes[nodes[-1]].output[0])) is not None:
            node = self.nodes[reader]
            if node.op_type == "BatchNormalization" and not normed:
                normed = True
            elif not (self.operators[reader].arithmetic and self._is_channel_vector(node)):
                break
            nodes.append(reader)
        return Candidate(first, nodes[-1], kind, frozenset(nodes[:-1]))

    def _is_group_norm(self, i: int) -> bool:
        """Whether node `i` is a norm between two reshapes, as exporters write a norm of groups of channels."""
        before = self.graph.producer_of.get(self.nodes[i].input[0])
        after = self._find_only_reader(self.nodes[i].output[0])
        if self.operators[i].kind != "norm" or self.operators[i].normalises_last or before is None or after is None:
            return False
        around = [self.operators[k] for k in (before, after)]
        return all(x.passes and not x.elementwise for x in around)

    def _is_channel_vector(self, node: NodeProto) -> bool:
        """Whether the other operand is a constant with one number per channel.

        A scalar does not count: it is arithmetic of an activation that is written out.
        """
        constants = [name for name in node.input if name not in self.data]
        if len(constants) != 1 or len(node.input) != 2:
            return False
        if operator_of(node).ordered and constants[0] != node.input[1]:
            return False
        tensor = self.graph.initializers.get(constants[0])
        # A vector may also be computed, as the weights of converters that write them as ConstantOfShape.
        shape = tensor.dims if tensor is not None else self.shape(constants[0]) or ()
        return [size != 1 for size in shape].count(True) == 1

    def _is_constant_scalar(self, node: NodeProto) -> bool:
        constants = [name for name in node.input if name not in self.data]
        if len(constants) != 1 or len(node.input) != 2:
            return False
        tensor = self.graph.initializers.get(constants[0])
        return tensor is not None and all(d == 1 for d in tensor.dims)

    def _find_written_out(self, i: int, operands: Sequence[str]) -> Candidate | None:
        """The activation that ends at node `i`, where it is a nonlinear function of one tensor, element by element.

        silu, hard-swish, gelu and mish are x * f(x) where no operator of their own is used, prelu is f(x) + g(-x).
        """
        chain, ends = [i], set(operands)
        while len(ends) > 1:
            # All ways back meet in one tensor, or they do not: the last to be made is stepped over first.
            tensor = max(ends, key=lambda name: self.graph.producer_of.get(name, -1))
            k = self.graph.producer_of.get(tensor)
            if k is None or len(chain) > _MAX_CHAIN:
                return None
            if not self.operators[k].elementwise or self.operators[k].kind == "norm":
                return None
            chain.append(k)
            ends = (ends - {tensor}) | {name for name in self.nodes[k].input if name in self.data}
        if not any(self.operators[k].nonlinear for k in chain):
            return None
        if self.operators[i].affine and not self.operators[i].product and ends & set(operands):
            return None  # x + f(x) is a residual
        last = self._extend_over_scale(i, chain)
        group = {*chain, last}
        return Candidate(
            min(chain), last, "activation", frozenset(k for k in group if k != last and self._is_private(k, group))
        )

    def _extend_over_scale(self, i: int, chain: Sequence[int]) -> int:
        """Past a multiplication by a scalar: gelu and hard-swish written out end in one, whose f is not from 0 to 1."""
        reader = self._find_only_reader(self.nodes[i].output[0])
        if (
            reader is not None
            and self.operators[reader].product
            and self._is_constant_scalar(self.nodes[reader])
            and any(self.operators[k].inner_word and self.operators[k].bounds != (0, 1) for k in chain)
        ):
            return reader
        return i

    def _is_private(self, k: int, group: set[int]) -> bool:
        """Whether nothing outside the group reads what node `k` makes."""
        made = self.nodes[k].output[0]
        return made not in self.outputs and all(r in group for r in self.graph.consumers_of.get(made, []))

    def _is_spatial_reduction(self, node: NodeProto) -> bool:
        values = attributes(node).get("axes")
        if (
            values is None
            and len(node.input) > 1
            and (tensor := self.graph.initializers.get(node.input[1])) is not None
        ):
            values = self.graph.tensor_array(tensor).ravel().tolist() if not tensor.external_data else None
        shape = self.shape(node.input[0])
        if not values or shape is None or len(shape) < 3:
            return False
        rank = len(shape)
        channel = rank - 1 if self.is_channels_last(node.input[0]) else 1
        axes = {int(v) % rank for v in values}
        return axes == set(range(1, rank)) - {channel}

    def _looks_like_maps(self, tensor: str) -> bool:
        """Two dimensions or more, as far as anything is known, and no positions (int64) or conditions."""
        shape = self.shape(tensor)
        if shape is not None and not 2 <= len(shape) <= 5:
            return False
        value = self.graph.value_infos.get(tensor) or self._values.get(tensor)
        return value is None or value.type.tensor_type.elem_type not in _NO_MAPS
