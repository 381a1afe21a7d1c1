"""What a tensor sees of the input, one axis of the picture at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction


@dataclass(frozen=True)
class Span:
    """One axis of the input as a tensor sees it: along `axis`, position p sees jump * p + low to jump * p + high."""

    axis: int
    jump: Fraction
    low: Fraction
    high: Fraction


@dataclass(frozen=True)
class Reach:
    """What a tensor sees of one axis of the input; neither a span nor everything: it does not depend on the picture."""

    span: Span | None = None
    everything: bool = False


NOTHING = Reach()
EVERYTHING = Reach(None, True)
Pair = tuple[Reach, Reach]
"""What a tensor sees along the picture's vertical axis and along its horizontal one."""
NEITHER: Pair = (NOTHING, NOTHING)


def start(axis: int) -> Pair:
    """What the input sees of itself, its vertical axis being `axis` and its horizontal one the next."""
    zero, one = Fraction(0), Fraction(1)
    return Reach(Span(axis, one, zero, zero)), Reach(Span(axis + 1, one, zero, zero))


def unite(a: Reach, b: Reach) -> Reach:
    """What two tensors see together."""
    everything = a.everything or b.everything
    if a.span is None or b.span is None:
        return Reach(a.span or b.span, everything)
    if (a.span.axis, a.span.jump) != (b.span.axis, b.span.jump):
        return EVERYTHING
    return Reach(replace(a.span, low=min(a.span.low, b.span.low), high=max(a.span.high, b.span.high)), everything)


def unite_pairs(a: Pair, b: Pair) -> Pair:
    """The same for both axes."""
    return unite(a[0], b[0]), unite(a[1], b[1])


def lose_places(reach: Reach) -> Reach:
    """After an operator that mixes all positions."""
    return EVERYTHING if reach.span is not None or reach.everything else NOTHING


def change_reaches(pair: Pair, change: Callable[[Reach], Reach]) -> Pair:
    """`change` applied to each axis that the tensor depends on."""
    done = [reach if reach == NOTHING else change(reach) for reach in pair]
    return done[0], done[1]


def change_spans(pair: Pair, change: Callable[[Span], Span | None]) -> Pair:
    """`change` applied to each span; None from it means that the positions are mixed."""

    def one(reach: Reach) -> Reach:
        if reach.span is None:
            return reach
        span = change(reach.span)
        return EVERYTHING if span is None else Reach(span, reach.everything)

    return change_reaches(pair, one)
