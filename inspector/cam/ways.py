"""The ways from layers to the scores of a detector's places, and the values of a run along them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector import onnx
from inspector.cam.branches import Branch, Level, find_branch, find_levels
from inspector.cam.choose import choose_last_maps, measure_shapes
from inspector.errors import NotComputable, listing
from inspector.graph import Graph, infer_types, read_shape
from inspector.layers import Layer
from inspector.model import Model
from inspector.reverse import Head, SpotValues, find_head
from inspector.reverse.origin import Origin, find_tail, trace_origin, trace_others
from inspector.tasks.answers import Element

Array = NDArray[Any]
_Shape = tuple[int, ...]


@dataclass
class Ways:
    """What is known of the head of a detector; it grows with the pictures.

    Attributes:
        model: The model.
        layers: The layers that were asked for; empty where the branches' own are taken.
        heads: For each tensor of scores the heads that lead there, one for each layer.
        others: The tensors of scores of all scales, those that nothing was found at included.
        distant: Why the maps are read where they are, of scores that are no maps; empty of others.
        levels: Of a head that puts all scores into one map, the coarser maps that lead there, the coarsest first.
    """

    model: Model
    layers: tuple[Layer, ...] = ()
    heads: dict[str, tuple[Head, ...]] = field(default_factory=dict)
    others: dict[str, None] = field(default_factory=dict)
    levels: dict[str, tuple[Level, ...]] = field(default_factory=dict)
    distant: str = ""
    _tails: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict, repr=False)
    _constants: dict[str, Array] = field(default_factory=dict, repr=False)
    _shapes: dict[_Shape, dict[str, _Shape]] = field(default_factory=dict, repr=False)

    @property
    def graph(self) -> Graph:
        """The model's graph."""
        return self.model.graph

    @property
    def all_heads(self) -> list[tuple[Head, ...]]:
        """The heads of every tensor, those of coarser maps first."""
        return [*(tuple(level.head for level in levels) for levels in self.levels.values()), *self.heads.values()]

    def run(self, tensor: Array, names: Iterable[str]) -> RunValues:
        """Run the network once for all that the ways known by now will ask for, and for `names`."""
        values = RunValues(self, tensor, self._shapes_for(tensor))
        values.fetch([*names, *self.names(values.shapes)])
        return values

    def names(self, shapes: Mapping[str, _Shape]) -> list[str]:
        """The tensors of a run that the known ways read; those whose shape alone is read only where it is not known."""
        valued: dict[str, None] = {}
        shaped: dict[str, None] = {}
        for heads in self.all_heads:
            for head in heads:
                values, sizes = head.read
                valued.update(dict.fromkeys((head.layer, head.output, *values)))
                shaped.update(dict.fromkeys(sizes))
        for values, sizes in self._tails.values():
            valued.update(dict.fromkeys(values))
            shaped.update(dict.fromkeys(sizes))
        return [*valued, *(name for name in shaped if name not in shapes)]

    def learn(self, elements: Sequence[Element], values: RunValues) -> list[Origin]:
        """Trace scores back to the weights that make them, and find what leads there.

        Raises:
            NotComputable: A score does not come from maps, or the way to it holds operators without a derivative here.
        """
        for tensor in dict.fromkeys(one.tensor for one in elements):
            if tensor not in self._tails:
                self._tails[tensor] = find_tail(self.graph, [tensor])
        values.fetch(self.names(values.shapes))
        origins = [trace_origin(self.graph, one.tensor, one.index, values.spots()) for one in elements]
        for origin in origins:
            if origin.tensor not in self.heads:
                self._add(origin.tensor, values)
                for other in trace_others(self.graph, origin, values.spots()):
                    self.others[other.tensor] = None
                    if not self.layers and other.tensor not in self.heads:
                        self._add(other.tensor, values)
        if len(self.others) == 1 and not self.layers and self.model.input.layout == "NCHW":
            for end in self.others:
                if end not in self.levels:
                    found = find_levels(self.graph, end, values.find_shape)
                    self.levels |= {end: found} if found else {}
        values.fetch(self.names(values.shapes))
        return origins

    def learn_numbers(self, tensors: Iterable[str], values: RunValues) -> None:
        """Find what leads from the known layers to outputs that hold other numbers than scores.

        Each branch is followed alone: the maps that others begin with are held.
        """
        known = list(dict.fromkeys(head.layer for heads in self.heads.values() for head in heads))
        layers = [layer.tensor for layer in self.layers] or known
        for tensor in dict.fromkeys(tensors):
            if tensor in self.heads:
                continue
            held = () if self.layers else layers
            heads = [find_head(self.graph, layer, tensor, held) for layer in layers]
            self.heads[tensor] = tuple(head for head in heads if head.connected)
        values.fetch(self.names(values.shapes))

    def _add(self, end: str, values: RunValues) -> None:
        """The heads that lead to a tensor of scores."""
        if self.layers:
            heads = [find_head(self.graph, layer.tensor, end) for layer in self.layers]
        else:
            branch: Branch | None = find_branch(self.graph, end, values.find_shape)
            heads = [branch.head] if branch is not None else self._find_distant(end)
        unknown = list(dict.fromkeys(name for head in heads for name in head.unknown))
        if unknown:
            raise NotComputable(
                f"the way to the scores of boxes holds {listing(unknown)}, without a derivative here", _BY_MASKS
            )
        self.others[end] = None
        self.heads[end] = tuple(head for head in heads if head.connected)

    def _find_distant(self, end: str) -> list[Head]:
        """The head of scores that are no map, as those of a transformer's queries: the last maps that lead to all."""
        pictures = (self.model.input.batch or 1, self.model.input.shape[0], None)
        # Cut-outs for each box of a first stage are no places of the picture.
        layers = measure_shapes(self.model, ())
        placed = [one for one in layers if one.places and one.shape and one.shape[0] in pictures]
        found = choose_last_maps(self.graph, placed, end)
        if found is None:
            raise NotComputable(f"the scores of boxes come from {end!r}, and no maps lead there", _BY_MASKS)
        self.distant = found[2]
        return [found[1]]

    def constants(self, tensor: Array) -> dict[str, Array]:
        """The weights that the known ways read: mapped from the file, or worked out once where the graph does."""
        graph = self.graph
        named = dict.fromkeys(name for heads in self.all_heads for head in heads for name in head.weights)
        missing = [name for name in named if name not in self._constants]
        made = [name for name in missing if name not in graph.initializers]
        computed = self.model.run(tensor, made) if made else {}
        for name in missing:
            value = computed[name] if name in computed else graph.weight(name)
            short = (value.dtype.kind == "f" and value.dtype.itemsize == 2) or value.dtype.name == "bfloat16"
            self._constants[name] = value.astype(np.float32) if short else np.asarray(value)
        return self._constants

    def _shapes_for(self, tensor: Array) -> dict[str, _Shape]:
        if tensor.shape not in self._shapes:
            self._shapes = {tensor.shape: infer_fixed_shapes(self.graph, self.model.input.name, tensor.shape)}
        return self._shapes[tensor.shape]

    def forget_shapes(self) -> None:
        """Take no shape from the structure any more: a run has shown another."""
        for shapes in self._shapes.values():
            shapes.clear()


_BY_MASKS = "method drise needs no way back: it covers parts of the picture"


@dataclass
class RunValues:
    """The tensors of one run; what is missing is run once more.

    Attributes:
        ways: What asks for them.
        tensor: The input.
        shapes: Name -> shape, as the structure tells it.
        known: Name -> value.
    """

    ways: Ways
    tensor: Array
    shapes: dict[str, _Shape]
    known: dict[str, Array] = field(default_factory=dict)

    def fetch(self, names: Iterable[str]) -> None:
        """Run what is not known yet."""
        graph = self.ways.graph
        wanted = [n for n in dict.fromkeys(names) if n not in self.known and n in graph.producer_of]
        if wanted:
            found = self.ways.model.run(self.tensor, wanted)
            self.known |= found
            if any(name in self.shapes and self.shapes[name] != value.shape for name, value in found.items()):
                self.ways.forget_shapes()
                self.fetch(self.ways.names(self.shapes))

    def spots(self) -> SpotValues:
        """The values for gradients and for ways back."""
        graph = self.ways.graph
        constants = self.ways.constants(self.tensor)
        return SpotValues(_Known(graph, {**constants, **self.known}), self.shapes)

    def find_shape(self, name: str) -> _Shape | None:
        """The shape of a tensor or of a weight."""
        if name in self.known:
            return self.known[name].shape
        if name in self.ways.graph.initializers:
            return tuple(self.ways.graph.initializers[name].dims)
        return self.shapes.get(name)


class _Known(Mapping[str, Array]):
    """Values of a run, and weights of the file that are read when they are asked for."""

    def __init__(self, graph: Graph, values: Mapping[str, Array]) -> None:
        self._graph, self._values = graph, values

    def __getitem__(self, name: str) -> Array:
        return self._values[name] if name in self._values else self._graph.weight(name)

    def __contains__(self, name: object) -> bool:
        return name in self._values or name in self._graph.initializers

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def infer_fixed_shapes(graph: Graph, name: str, shape: Sequence[int]) -> dict[str, _Shape]:
    """The shapes of tensors for an input of this shape, as far as the structure tells them.

    What the file declares is left aside: files name sizes that hold for no picture but the exporter's.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(graph.proto)
    del probe.graph.value_info[:]
    for output in probe.graph.output:
        output.type.tensor_type.ClearField("shape")
    for value in probe.graph.input:
        if value.name == name:
            del value.type.tensor_type.shape.dim[:]
            for size in shape:
                value.type.tensor_type.shape.dim.add().dim_value = size
    found: dict[str, _Shape] = {}
    for value in infer_types(probe):
        sizes = read_shape(value)
        if sizes is not None and all(isinstance(size, int) for size in sizes):
            found[value.name] = tuple(int(size) for size in sizes if isinstance(size, int))
    return found
