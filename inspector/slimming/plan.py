"""Which channels of a graph can go, why, and which look dead and have to stay."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from inspector.graph import Graph, operator_of
from inspector.slimming.channels import CutConstant, Doubles, Findings, Units
from inspector.slimming.rules import find_family_rule
from inspector.slimming.select import Selection, Selector
from inspector.slimming.sizes import choose_sizes
from inspector.slimming.walk import ChannelWalk
from inspector.slimming.wording import Explainer


@dataclass(frozen=True)
class CutChannels:
    """Channels of one tensor that go, or that look dead and stay, for one reason.

    Attributes:
        tensor: The tensor; what a convolution or matrix product makes, mostly.
        channels: Their indices.
        why: The reason, as a clause.
        bounds: What proves it, one text for each channel; empty where the reason says all.
    """

    tensor: str
    channels: tuple[int, ...]
    why: str
    bounds: tuple[str, ...] = ()


@dataclass(frozen=True)
class SlimPlan:
    """What can be cut from a graph.

    Attributes:
        graph: The graph.
        found: What is known of its channels.
        chosen: Which of them go.
        sizes: Sizes of its tensors for some picture.
    """

    graph: Graph
    found: Findings
    chosen: Selection
    sizes: Mapping[str, tuple[int, ...]]

    @property
    def total(self) -> int:
        """How many channels of convolutions and matrix products go."""
        return sum(len(each.channels) for each in self.cut)

    @cached_property
    def cut(self) -> tuple[CutChannels, ...]:
        """The channels of convolutions and matrix products that go."""
        explain = Explainer(self.graph, self.found, self.chosen)
        return tuple(self._gather(lambda tensor, unit: explain.explain_cut(tensor, unit), gone=True))

    @cached_property
    def kept(self) -> tuple[CutChannels, ...]:
        """The channels that look dead, and stay."""
        explain = Explainer(self.graph, self.found, self.chosen)
        return tuple(self._gather(lambda tensor, unit: explain.explain_kept(tensor, unit), gone=False))

    def keep_of(self, tensor: str) -> Units | None:
        """The channels of a tensor that stay, in their order; None where all do, or nothing is known of them."""
        channels = self.found.channels.get(tensor)
        if channels is None or not self.chosen.gone[channels.units].any():
            return None
        return np.flatnonzero(~self.chosen.gone[channels.units])

    @cached_property
    def saved_bytes(self) -> int:
        """How many bytes of constants go with the channels."""
        kept: dict[str, float] = {}
        gone = self.chosen.gone
        for reader in self.found.readers:
            name = self.graph.nodes[reader.node].input[reader.position]
            rows = float(1 - gone[reader.rows].mean())
            columns = 1.0 if reader.units is None else float(1 - gone[reader.units].mean())
            kept[name] = max(kept.get(name, 0.0), rows * columns)
        for edit in self.found.edits:
            if isinstance(edit, CutConstant):
                name = self.graph.nodes[edit.node].input[edit.position]
                kept[name] = max(kept.get(name, 0.0), float(1 - gone[edit.units].mean()))
        sizes = {name: self._count_bytes(name) for name in kept}
        return sum(round(sizes[name] * (1 - share)) for name, share in kept.items())

    def _count_bytes(self, name: str) -> int:
        """Bytes of a constant, or of what it is dequantized from."""
        if name in self.found.constants:
            return int(self.found.constants[name].nbytes)
        if name in self.graph.initializers:
            return int(self.graph.weight(name).nbytes)
        index = self.graph.producer_of.get(name)
        first = self.graph.nodes[index].input[0] if index is not None else ""
        return int(self.graph.weight(first).nbytes) if first in self.graph.initializers else 0

    def _gather(self, explain: object, gone: bool) -> Iterable[CutChannels]:
        assert callable(explain)
        for tensor, channels in self.found.channels.items():
            index = self.graph.producer_of.get(tensor)
            if index is None or not (operator_of(self.graph.nodes[index]).weighted or not gone):
                continue
            groups: dict[str, list[tuple[int, str]]] = {}
            for channel, unit in enumerate(channels.units):
                if bool(self.chosen.gone[unit]) == gone and (told := explain(tensor, int(unit))) is not None:
                    groups.setdefault(told[0], []).append((channel, told[1]))
            for why, members in groups.items():
                bounds = tuple(bound for _, bound in members) if any(bound for _, bound in members) else ()
                yield CutChannels(tensor, tuple(channel for channel, _ in members), why, bounds)


def find_slim_plan(
    graph: Graph,
    *,
    inputs: Mapping[str, tuple[float, float]] | None = None,
    picture: tuple[int, int] | None = None,
    free: Collection[str] = (),
    seen: Mapping[str, Doubles] | None = None,
    in_blocks: bool = False,
) -> SlimPlan:
    """Find the channels of a graph that can be cut without a change of its outputs.

    Args:
        graph: The graph.
        inputs: Between which values its inputs lie, by name; only where that is known for sure.
        picture: (height, width) of the pictures, where the graph leaves them open.
        free: Outputs that may lose channels: layers that are only exposed.
        seen: By tensor: float64 (C,), a value that a channel is taken to have everywhere, NaN for others. What follows
            from it is no longer proven.
        in_blocks: Whether maps that have whole blocks of channels keep whole blocks, where less than a quarter goes.

    Returns:
        The plan. It is empty where nothing can go.
    """
    sizes = choose_sizes(graph, picture)
    walk = ChannelWalk(graph, sizes, inputs or {}, seen or {})
    found = walk.run(find_family_rule)
    for name in graph.outputs:
        if name not in free:
            walk.pin(name, "the graph gives it out")
    return SlimPlan(graph, found, Selector(graph, found, in_blocks).choose(), sizes)
