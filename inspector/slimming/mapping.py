"""Which channels of a big file those of its slimmed copy are: written into metadata, and read from there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from inspector.metadata import Metadata

ENTRY = "slimmed"
"""The key in the metadata's `source`."""

_MOST = 1 << 20


def write_numbers(numbers: Iterable[Any]) -> str:
    """Numbers in rising order, as a person writes them.

    Example:
        >>> write_numbers([0, 1, 2, 5, 7, 8])
        '0-2,5,7-8'
    """
    runs: list[list[int]] = []
    for number in map(int, numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{a}-{b}" if b > a else str(a) for a, b in runs)


def read_channel_map(metadata: Metadata) -> dict[str, tuple[int, ...]]:
    """Read which channels of the big file a slimmed file still has.

    Args:
        metadata: The metadata of the slimmed file.

    Returns:
        Layer name -> for each of its channels the number that it had in the big file; layers that lost none are not
        named, and one that is gone has none.

    Example:
        >>> entry = {"kept": "0-1,3", "layers": ["conv1", "relu1"]}
        >>> read_channel_map(Metadata(source={"slimmed": {"channels": [entry]}}))
        {'conv1': (0, 1, 3), 'relu1': (0, 1, 3)}
    """
    entry = metadata.source.get(ENTRY)
    parts = entry.get("channels") if isinstance(entry, Mapping) else None
    found: dict[str, tuple[int, ...]] = {}
    for part in parts if isinstance(parts, list) else ():
        text, layers = (part.get("kept"), part.get("layers")) if isinstance(part, Mapping) else (None, None)
        numbers = _read_numbers(text) if isinstance(text, str) else None
        if numbers is not None and isinstance(layers, list):
            found.update(dict.fromkeys(map(str, layers), numbers))
    return found


def write_channel_map(channels: Mapping[str, str]) -> list[dict[str, Any]]:
    """The channels of layers as metadata hold them: layers that go together have the same, which is said once.

    Args:
        channels: Layer name -> the numbers of its channels, as :func:`write_numbers` gives them.
    """
    groups: dict[str, list[str]] = {}
    for name, text in channels.items():
        groups.setdefault(text, []).append(name)
    return [{"kept": text, "layers": names} for text, names in groups.items()]


def _read_numbers(text: str) -> tuple[int, ...] | None:
    """The numbers of "0-2,5"; None for what is none."""
    numbers: list[int] = []
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        if not (low.isascii() and low.isdigit() and (high or low).isascii() and (high or low).isdigit()):
            return None
        if not int(low) <= int(high or low) < _MOST:
            return None
        numbers.extend(range(int(low), int(high or low) + 1))
    return tuple(numbers)
