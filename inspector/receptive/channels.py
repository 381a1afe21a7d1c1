"""Channels as a person writes them. No torch."""

from __future__ import annotations

from inspector.errors import UsageError

_MOST = 1_000_000


def parse_channels(text: str) -> list[int] | None:
    """Turn "0-63" or "3,7,12-15" into numbers.

    Returns:
        The numbers in the order given, once each; None for "all".

    Raises:
        UsageError: The text cannot be read.
    """
    if text.strip().lower() == "all":
        return None
    found: dict[int, None] = {}
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not (low.isascii() and low.isdigit()) or (dash and not (high.isascii() and high.isdigit())):
            raise UsageError(f"channels {text!r} cannot be read", "give for example 0-63, or 3,7,12, or all")
        first, last = int(low), int(high) if dash else int(low)
        if not first <= last < _MOST:
            raise UsageError(f"channels {part.strip()!r} run backwards or too far", "give for example 0-63")
        found.update(dict.fromkeys(range(first, last + 1)))
    return list(found)
