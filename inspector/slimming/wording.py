"""Why a channel goes, and why one that looks dead stays."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from inspector.graph import Graph, operator_of
from inspector.slimming.channels import ChannelReader, Findings
from inspector.slimming.select import Selection

Told = tuple[str, str]
"""The reason, and the number that proves it."""


class Explainer:
    """Words what was chosen."""

    def __init__(self, graph: Graph, found: Findings, chosen: Selection) -> None:
        self.graph = graph
        self.found = found
        self.chosen = chosen
        self.low, self.high = found.low_of(), found.high_of()
        self.number, self.factor = found.number_of(), found.factor_of()
        self.constant = (self.low == self.high) & np.isfinite(self.low)

    @cached_property
    def tensor_of(self) -> list[tuple[int, str]]:
        """(first unit, tensor), in order."""
        return [(channels.first, name) for name, channels in self.found.channels.items()]

    @cached_property
    def members(self) -> Mapping[int, list[int]]:
        """The units of each component."""
        found: dict[int, list[int]] = {}
        for unit, component in enumerate(self.chosen.component):
            found.setdefault(int(component), []).append(unit)
        return found

    @cached_property
    def readers(self) -> Mapping[int, list[tuple[ChannelReader, int]]]:
        """The readers of each component, and which of their inputs."""
        found: dict[int, list[tuple[ChannelReader, int]]] = {}
        for reader in self.found.readers:
            if reader.units is not None:
                for place, unit in enumerate(reader.units):
                    found.setdefault(int(self.chosen.component[unit]), []).append((reader, place))
        return found

    @cached_property
    def pinned(self) -> Mapping[int, str]:
        """Component -> why it is pinned."""
        found: dict[int, str] = {}
        for units, why in self.found.pins:
            for component in np.unique(self.chosen.component[units]):
                found.setdefault(int(component), why)
        return found

    def name_unit(self, unit: int) -> tuple[str, int]:
        """The tensor and the channel of a unit."""
        starts = [first for first, _ in self.tensor_of]
        at = int(np.searchsorted(starts, unit, side="right")) - 1
        return self.tensor_of[at][1], unit - starts[at]

    def explain_cut(self, tensor: str, unit: int) -> Told:
        """Why a unit that goes can go."""
        if self.chosen.copied[unit]:
            return self._explain_copy(unit)
        if self.constant[unit]:
            zero = self._is_zero(tensor, unit)
            why = "its filter is zero, so that it is constant" if zero else "it is constant, whatever comes in"
            return why, f"{self.low[unit]:.6g}"
        fixed = [u for u in self.members[int(self.chosen.component[unit])] if self.constant[u]]
        if fixed:
            name, channel = self.name_unit(fixed[0])
            node = self.graph.nodes[self.graph.producer_of[name]]
            before = self.found.channels.get(node.input[0])
            bound = f"always {self.low[fixed[0]]:.6g}"
            if before is not None and channel < len(before):
                bound += f", for between {before.low[channel]:.6g} and {before.high[channel]:.6g}"
            return f"{node.op_type} makes it constant", bound
        return "nothing that reads it has a weight for it", ""

    def _is_zero(self, tensor: str, unit: int) -> bool:
        """Whether a channel's weights are all zero."""
        index = self.graph.producer_of[tensor]
        for reader in self.found.readers:
            if reader.node == index:
                return not reader.touches[unit - int(reader.rows[0])].any()
        node = self.graph.nodes[index]
        position = operator_of(node).weight
        name = node.input[position] if position is not None else ""
        if name not in self.graph.initializers or operator_of(node).integer:
            return False
        return not np.asarray(self.graph.weight(name)[unit - self.found.channels[tensor].first]).any()

    def _explain_copy(self, unit: int) -> Told:
        component = int(self.chosen.component[unit])
        for at, stands in self.chosen.stand_in.items():
            reader = self.found.readers[at]
            for own, other in stands.items():
                if int(self.chosen.component[own]) == component:
                    ratio = self.factor[own] / self.factor[other]
                    _, channel = self.name_unit(other)
                    return "another channel holds the same", f"{ratio:.6g} times channel {channel} of {reader.data}"
        return "another channel holds the same", ""

    def explain_kept(self, tensor: str, unit: int) -> Told | None:
        """Why a unit that looks dead stays; None for one that does not look dead, or was told of before."""
        component = int(self.chosen.component[unit])
        if self.constant[unit]:
            if any(self.constant[other] for other in self.members[component] if other < unit):
                return None
            return self._find_bar(component), f"always {self.low[unit]:.6g}"
        made_by = self.graph.producer_of.get(tensor)
        if made_by is None or not operator_of(self.graph.nodes[made_by]).weighted:
            return None
        if component in self.pinned and self._is_unread(component):
            return self.pinned[component], "no reader has a weight for it"
        other = self.copies.get(component)
        if other is None:
            return None
        name, channel = self.name_unit(other)
        return self._find_uncopied(component), f"the same as channel {channel} of {name}"

    def _is_unread(self, component: int) -> bool:
        """Whether it has readers, and none of them a weight for it."""
        readers = self.readers.get(component, ())
        return bool(readers) and not any(reader.touched[place] for reader, place in readers)

    @cached_property
    def copies(self) -> Mapping[int, int]:
        """Component that stays -> a unit of another that holds the same at some reader, and comes before it."""
        found: dict[int, int] = {}
        for reader in self.found.readers:
            first: dict[int, int] = {}
            for unit in () if reader.units is None else map(int, reader.units):
                if self.chosen.gone[unit] or self.constant[unit]:
                    continue
                other = first.setdefault(int(self.number[unit]), unit)
                if self.chosen.component[other] != self.chosen.component[unit]:
                    found.setdefault(int(self.chosen.component[unit]), other)
        return found

    def _find_uncopied(self, component: int) -> str:
        """What keeps a component of which another holds the same."""
        if component in self.pinned:
            return self.pinned[component]
        for reader, place in self.readers.get(component, ()):
            assert reader.units is not None
            node = self.graph.nodes[reader.node]
            named = f"{node.op_type} {node.output[0]!r}"
            own = reader.units[place]
            rest = reader.units[(self.number[reader.units] == self.number[own]) & (reader.units != own)]
            if not reader.touched[place]:
                continue
            if not reader.foldable:
                return f"the weights of {named} are integers, which cannot be added up"
            if not len(rest):
                return f"{named} reads it where nothing holds the same"
        return "others that stay rest on it"

    def _find_bar(self, component: int) -> str:
        if component in self.pinned:
            return self.pinned[component]
        for reader, place in self.readers.get(component, ()):
            assert reader.units is not None
            unit = reader.units[place]
            node = self.graph.nodes[reader.node]
            if not reader.find_read(self.chosen.gone)[place]:
                continue
            named = f"{node.op_type} {node.output[0]!r}"
            if not self.constant[unit]:
                return f"it is not constant where {named} reads it"
            if self.low[unit] == reader.zero:
                continue
            if not reader.shared:
                return f"it is not 0 and {named} pads with zeros, so that its borders would change"
            if not reader.adds[place]:
                return f"it is not 0, and the bias of {named} cannot take over what it adds exactly"
        return "it goes together with channels that have to stay"
