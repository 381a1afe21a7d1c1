"""What is known of the channels of one tensor, and what has to happen to a node when channels go."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Units = NDArray[np.int64]

NO_UNIT = -1
"""A place along an axis that belongs to no channel, and stays."""


@dataclass(frozen=True)
class ChannelFacts:
    """What is known of the channels of a tensor.

    Attributes:
        axis: The axis that they lie along, 0 or more.
        rank: How many axes the tensor has.
        first: The unit of channel 0; those of the others follow. A unit is one channel of one tensor.
        low: float64 (C,): no value of the channel is smaller, for any picture; -inf where nothing is known.
        high: float64 (C,): no value is larger. Where it equals `low` the channel is constant.
        number: int64 (C,): channels with one number, of any tensor of the graph, hold the same values up to `factor`.
        factor: float64 (C,): what the values of that number are multiplied by; not 0.
    """

    axis: int
    rank: int
    first: int
    low: Doubles
    high: Doubles
    number: Units
    factor: Doubles

    def __len__(self) -> int:
        return len(self.low)

    @property
    def units(self) -> Units:
        """int64 (C,): the unit of each channel."""
        return np.arange(self.first, self.first + len(self), dtype=np.int64)

    @property
    def constant(self) -> NDArray[np.bool_]:
        """bool (C,): which channels hold one and the same finite value everywhere, whatever the picture."""
        return np.asarray((self.low == self.high) & np.isfinite(self.low), bool)


@dataclass(frozen=True)
class CutConstant:
    """A constant input of a node that loses what belongs to channels that go.

    Attributes:
        node: Index of the node.
        position: Which of its inputs.
        axis: The axis of the constant.
        units: int64 (length of the axis,): the unit that each place belongs to.
    """

    node: int
    position: int
    axis: int
    units: Units


@dataclass(frozen=True)
class CutNumber:
    """A number that counts channels.

    Attributes:
        node: Index of the node.
        where: Position of the input, or name of the attribute, that holds it.
        index: Which of the numbers there; None for an attribute of one number.
        units: The units that it counts.
        each: How many units it counts as one.
        among: The units of the axis that it counts along, where it may count from the end and so is written anew as
            soon as any of them goes; None where it counts from the start.
    """

    node: int
    where: int | str
    index: int | None
    units: Units
    each: int = 1
    among: Units | None = None


@dataclass(frozen=True, eq=False)
class FixedOperand:
    """An operand of an elementwise node that is the same for every picture, and becomes a constant.

    Attributes:
        node: Index of the node.
        position: Which of its inputs.
        value: The constant, with the axes of the operand.
        idle: The position of the operand that the node only hands on, because this one is all zeros in a sum; None
            for any other.
    """

    node: int
    position: int
    value: NDArray[Any]
    idle: int | None = None


@dataclass(frozen=True, eq=False)
class ChannelReader:
    """A node that weighs channels and adds them up: the channels that it reads may go without those that it makes.

    Attributes:
        node: Index of the node.
        data: The tensor that it reads.
        units: int64 (I,): the units that it reads; None where nothing is known of them.
        rows: int64 (O,): the units that it makes.
        position: Position of its weights.
        bias: Position of its bias; None where it takes none.
        axes: Axes of the weights along which outputs and inputs lie.
        groups: Groups of the convolution.
        touches: bool (O, I): which inputs have a weight other than 0 for which outputs.
        shared: Whether a value that is the same everywhere adds the same to every place of an output: there is no
            padding, and every place sees every weight.
        foldable: Whether weights and bias are numbers in floating point, so that weights can be added up.
        adds: bool (I,): which inputs, being constant, add something that the bias can take over exactly.
        sums: float64 (O, I): the weights added up over the taps; None where no constant asks for them.
        step: float64 (O,): what one step of a bias in integers is worth; None for one in floating point.
        zero: The value of an input that adds nothing: 0, or the zero point of integers.
    """

    node: int
    data: str
    units: Units | None
    rows: Units
    position: int
    bias: int | None
    axes: tuple[int, int]
    groups: int
    touches: NDArray[np.bool_]
    shared: bool
    foldable: bool
    adds: NDArray[np.bool_]
    sums: Doubles | None = None
    step: Doubles | None = None
    zero: float = 0.0

    @cached_property
    def touched(self) -> NDArray[np.bool_]:
        """bool (I,): which inputs have a weight for any output."""
        return np.asarray(self.touches.any(axis=0), bool)

    def find_read(self, gone: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """bool (I,): which inputs have a weight for an output that stays, where `gone` says it of every unit."""
        lost = gone[self.rows]
        return np.asarray(self.touches[~lost].any(axis=0), bool) if lost.any() else self.touched


@dataclass
class Findings:
    """What a walk through the graph has found; see :class:`inspector.slimming.walk.ChannelWalk`.

    Attributes:
        channels: By tensor.
        ties: Pairs of arrays of units that go together or not at all.
        pins: Units that must stay, and why.
        readers: Nodes that weigh channels.
        edits: What else has to be cut with the channels.
        fixed: Operands that become constants.
        constants: By tensor: what nodes compute from constants alone.
        total: How many units there are.
    """

    channels: dict[str, ChannelFacts] = field(default_factory=dict)
    ties: list[tuple[Units, Units]] = field(default_factory=list)
    pins: list[tuple[Units, str]] = field(default_factory=list)
    readers: list[ChannelReader] = field(default_factory=list)
    edits: list[CutConstant | CutNumber] = field(default_factory=list)
    fixed: list[FixedOperand] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    total: int = 0

    def low_of(self) -> Doubles:
        """float64 (units,): the lower bound of every unit."""
        return self._spread("low")

    def high_of(self) -> Doubles:
        """float64 (units,): the upper bound of every unit."""
        return self._spread("high")

    def number_of(self) -> Units:
        """int64 (units,): the number of every unit."""
        return self._spread("number").astype(np.int64)

    def factor_of(self) -> Doubles:
        """float64 (units,): the factor of every unit."""
        return self._spread("factor")

    def _spread(self, what: str) -> NDArray[Any]:
        found = np.full(self.total, math.nan)
        for each in self.channels.values():
            found[each.first : each.first + len(each)] = getattr(each, what)
        return found
