"""Chooses which units go: those whose every reader can do without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inspector.graph import Graph
from inspector.slimming.channels import ChannelFacts, ChannelReader, Findings, Units

Bools = NDArray[np.bool_]

_BLOCKS = (16, 8)
"""Channels that processors compute at a time. Where a tensor has whole blocks of them, onnxruntime lays it out so."""

_MUCH = 0.25
"""Share of a tensor's channels that is worth cutting also where what is left is no whole number of blocks."""


def find_groups(total: int, ties: Sequence[tuple[Units, Units]]) -> Units:
    """The component of each unit, by its smallest unit: int64 (total,)."""
    label = np.arange(total, dtype=np.int64)
    if not ties:
        return label
    one, other = (np.concatenate(column) for column in zip(*ties, strict=True))
    while True:
        least = np.minimum(label[one], label[other])
        before = label.copy()
        for side in (one, other):
            np.minimum.at(label, label[side], least)
            np.minimum.at(label, side, least)
        while (label[label] != label).any():
            label = label[label]
        if (label == before).all():
            return label


@dataclass
class Selection:
    """Which units go, and why.

    Attributes:
        component: int64 (units,): what goes together.
        gone: bool (units,).
        copied: bool (units,): of those that go, the ones that another channel stands in for.
        stand_in: By index of a reader: unit that goes -> unit that stands in for it there.
        kept: Unit -> why it stays, for units of components that were tried and failed.
    """

    component: Units
    gone: Bools
    copied: Bools
    stand_in: dict[int, dict[int, int]] = field(default_factory=dict)
    kept: dict[int, str] = field(default_factory=dict)


class Selector:
    """Chooses the units of one graph."""

    def __init__(self, graph: Graph, found: Findings, in_blocks: bool) -> None:
        self.graph = graph
        self.in_blocks = in_blocks
        self.found = found
        self.component = find_groups(found.total, found.ties)
        self.low, self.high = found.low_of(), found.high_of()
        self.number, self.factor = found.number_of(), found.factor_of()
        self.constant = (self.low == self.high) & np.isfinite(self.low)
        self.pinned: dict[int, str] = {}
        for units, why in found.pins:
            for unit in np.unique(self.component[units]):
                self.pinned.setdefault(int(unit), why)

    def choose(self) -> Selection:
        """Choose as many as can go."""
        while True:
            chosen = self._choose_once()
            if not self._pin_what_breaks(chosen):
                return chosen

    def _choose_once(self) -> Selection:
        total = self.found.total
        chosen = Selection(self.component, np.zeros(total, bool), np.zeros(total, bool))
        held: set[int] = set()
        while True:
            before = int(chosen.gone.sum())
            self._cut_idle(chosen, held)
            self._cut_copies(chosen, held)
            if int(chosen.gone.sum()) == before:
                return chosen

    def _find_idle(self, reader: ChannelReader, gone: Bools) -> tuple[Bools, Bools]:
        """(I,) each: which inputs have no weight for any output that stays; which are constants that can be added."""
        assert reader.units is not None
        unread = ~reader.find_read(gone)
        fixed = self.constant[reader.units]
        return np.asarray(unread, bool), fixed & ((self.low[reader.units] == reader.zero) | reader.adds)

    def _cut_idle(self, chosen: Selection, held: set[int]) -> None:
        """Cut components that are nothing or a constant to every reader."""
        changed = True
        while changed:
            barred = np.zeros(self.found.total, bool)
            barred[list(self.pinned)] = True
            barred[list(held)] = True
            for reader in self.found.readers:
                if reader.units is not None:
                    unread, fixed = self._find_idle(reader, chosen.gone)
                    barred[self.component[reader.units[~(unread | fixed)]]] = True
            gone = ~barred[self.component] | chosen.gone
            changed = bool((gone != chosen.gone).any())
            chosen.gone = gone

    def _cut_copies(self, chosen: Selection, held: set[int]) -> None:
        """Cut components for which others stand in at every reader that weighs them."""
        wanted: dict[int, list[tuple[int, int]]] = {}
        for at, reader in enumerate(self.found.readers):
            if reader.units is None:
                continue
            unread, fixed = self._find_idle(reader, chosen.gone)
            for k in np.flatnonzero(~(unread | fixed) & ~chosen.gone[reader.units]):
                wanted.setdefault(int(self.component[reader.units[k]]), []).append((at, int(k)))
        classes = [self._group_copies(reader) for reader in self.found.readers]
        for component in sorted(wanted, reverse=True):
            if component in self.pinned or component in held:
                continue
            pairs = []
            for at, place in wanted[component]:
                other = self._find_stand_in(at, place, classes[at], chosen)
                if other is None:
                    break
                pairs.append((at, place, other))
            else:
                units = self.component == component
                chosen.gone |= units
                chosen.copied |= units
                for at, place, other in pairs:
                    reader = self.found.readers[at]
                    assert reader.units is not None
                    chosen.stand_in.setdefault(at, {})[int(reader.units[place])] = int(reader.units[other])
                    held.add(int(self.component[reader.units[other]]))

    def _group_copies(self, reader: ChannelReader) -> dict[tuple[int, int], list[int]]:
        """Places of a reader by their value number and group, where there are several."""
        found: dict[tuple[int, int], list[int]] = {}
        if reader.units is None or not reader.foldable:
            return found
        each = len(reader.units) // reader.groups
        for place, unit in enumerate(reader.units):
            if not self.constant[unit]:
                found.setdefault((int(self.number[unit]), place // each), []).append(place)
        return {key: places for key, places in found.items() if len(places) > 1}

    def _find_stand_in(
        self, at: int, place: int, groups: dict[tuple[int, int], list[int]], chosen: Selection
    ) -> int | None:
        reader = self.found.readers[at]
        assert reader.units is not None
        each = len(reader.units) // reader.groups
        own = reader.units[place]
        for other in groups.get((int(self.number[own]), place // each), ()):
            unit = reader.units[other]
            if not chosen.gone[unit] and self.component[unit] != self.component[own]:
                return other
        return None

    def _pin_what_breaks(self, chosen: Selection) -> bool:
        """Pin units whose loss would leave a tensor empty, or groups of unequal size; whether there were any."""
        before = len(self.pinned)
        empty = {name for name, x in self.found.channels.items() if len(x) and chosen.gone[x.units].all()}
        for name in empty:
            if not all(self._bears_empty(reader, empty) for reader in self.graph.consumers_of.get(name, ())):
                unit = int(self.component[self.found.channels[name].first])
                self.pinned.setdefault(unit, "a tensor keeps at least one channel")
        for channels in self.found.channels.values() if self.in_blocks else ():
            self._pin_part_of_block(channels, chosen.gone)
        for reader in self.found.readers:
            if reader.groups > 1:
                for units in (reader.units, reader.rows):
                    if units is not None:
                        self._pin_surplus(units.reshape(reader.groups, -1), chosen.gone)
        return len(self.pinned) > before

    def _bears_empty(self, reader: int, empty: set[str]) -> bool:
        """Whether a node can do without an input: it goes itself, or joins what is left."""
        node = self.graph.nodes[reader]
        if all(name in empty for name in node.output if name):
            return True
        return node.op_type == "Concat" and any(name not in empty for name in node.input)

    def _pin_part_of_block(self, channels: ChannelFacts, gone: Bools) -> None:
        """Pin what goes beyond whole blocks of channels, where that little makes a network slower and not faster."""
        block = next((size for size in _BLOCKS if len(channels) % size == 0), 1)
        lost = channels.units[gone[channels.units]]
        if channels.rank < 4 or len(lost) >= _MUCH * len(channels):
            return
        for unit in lost[len(lost) - len(lost) % block :]:
            why = f"channels are computed in blocks of {block}, and less than a block saves no time"
            self.pinned.setdefault(int(self.component[unit]), why)

    def _pin_surplus(self, groups: Units, gone: Bools) -> None:
        """Pin what goes from one group of a convolution and from another not."""
        counts = gone[groups].sum(axis=1)
        for units, count in zip(groups, counts, strict=True):
            for unit in units[gone[units]][: count - counts.min()]:
                why = "each group of a grouped convolution has as many channels"
                self.pinned.setdefault(int(self.component[unit]), why)
