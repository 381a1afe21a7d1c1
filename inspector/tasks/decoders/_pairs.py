"""Heads with two outputs, one of boxes and one of class scores, for the same places."""

from __future__ import annotations

from collections.abc import Sequence

from inspector.tasks.seen import Output, Seen


def find_pair(seen: Seen, boxes: Sequence[str] = (), scores: Sequence[str] = ()) -> tuple[Output, Output] | None:
    """(boxes (1, A, 4), scores (1, A, K)) by their names, where these are known, else by their shapes; None without."""
    outputs = [one for one in seen.of_axes(3) if one.is_float]
    named = seen.named(*boxes), seen.named(*scores)
    if named[0] is not None and named[1] is not None:
        return (named[0], named[1]) if {3} == {one.axes for one in named if one is not None} else None
    if boxes and not seen.said:
        return None
    fours = [one for one in outputs if one.size(2) == 4]
    others = [one for one in outputs if one not in fours[:1]]
    if len(outputs) != 2 or not fours or not others or fours[0].size(1) != others[0].size(1):
        return None
    return fours[0], others[0]
