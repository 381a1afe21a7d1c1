"""Numbers as people read them."""

from __future__ import annotations

import math


def format_number(value: float | None, unit: str = "") -> str:
    """Three or four digits and the unit; empty for None."""
    if value is None:
        return ""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    text = f"{value:.0f}" if abs(value) >= 1000 or float(value).is_integer() else f"{value:.3g}"
    return f"{text} {unit}".rstrip()
