"""Ranges of values: what may be known of a tensor, and how ranges multiply and divide."""

from __future__ import annotations

import math

from inspector.records import record

_INF = math.inf

ROUNDING = 1e-6
"""How far sums and products of float32 may be from what real numbers give, relative to the numbers."""


@record
class Values:
    """What is known of a tensor's values as long as the input is finite.

    Args:
        low: No value is smaller.
        high: No value is larger.
        total: What all values of one picture add up to; None where that is not known.
        single: There is one value a picture.
        unit: All values of one picture have squares that add up to one: a vector of unit length.
    """

    low: float = -_INF
    high: float = _INF
    total: float | None = None
    single: bool = False
    unit: bool = False

    @property
    def are_shares(self) -> bool:
        """Whether every value lies in [0, 1], up to rounding."""
        return self.low >= -ROUNDING and self.high <= 1 + ROUNDING

    @property
    def add_up_to_one(self) -> bool:
        """Whether the values of one picture are proven to add up to one, up to rounding."""
        return self.total is not None and abs(self.total - 1) <= 1e-3


UNKNOWN = Values()


def multiply_ends(a: float, b: float) -> float:
    """The product of two ends of ranges; nothing times anything is nothing, infinity too."""
    return 0.0 if 0 in (a, b) else a * b


def scale_range(values: Values, factor: float) -> Values:
    """What is known of values times a constant."""
    ends = (multiply_ends(values.low, factor), multiply_ends(values.high, factor))
    return Values(min(ends), max(ends), None if values.total is None else values.total * factor)


def divide_ranges(left: Values, right: Values) -> Values:
    """What is known of a quotient; nothing where the divisor may be 0."""
    if right.low <= 0 <= right.high:
        return UNKNOWN
    ends = [_divide_ends(a, b) for a in (left.low, left.high) for b in (right.low, right.high)]
    return Values(min(ends), max(ends))


def _divide_ends(a: float, b: float) -> float:
    if math.isinf(b):
        return 0.0 if math.isfinite(a) else math.copysign(_INF, a * b)
    return a / b
