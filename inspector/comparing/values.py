"""Matches judged by the values of one picture: the tensor of B that equals A's best, in whatever order of axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.comparing.axes import Turn, find_turn
from inspector.comparing.matching import LayerMatch, Matching
from inspector.comparing.sums import LayerValues
from inspector.layers import Layer

EQUAL_DB, APART_DB = 60.0, 20.0
"""From where on two tensors are taken for one and the same, and below what two layers of one name may be others."""
_NEAR = 2e-3
"""How far the moments of tensors may differ that are worth comparing, as a share."""


@dataclass
class RunPair:
    """A pair of layers as a run shows it.

    Attributes:
        match: The two layers.
        turn: How the axes of B's tensor lie in A's; None where it has another shape.
        seen: Whether the turn was looked for.
    """

    match: LayerMatch
    turn: Turn | None = None
    seen: bool = False

    def find(self, a: LayerValues, b: LayerValues) -> None:
        """Look for the turn, once."""
        if not self.seen:
            turned = find_turn(a, b)
            self.turn, self.seen = None if turned is None else turned[0], True


def judge_pairs(
    matching: Matching, a: Mapping[str, LayerValues], b: Mapping[str, LayerValues]
) -> tuple[list[RunPair], Matching]:
    """Hold matches against the values of one picture.

    A layer whose values are far off gives its counterpart to an unmatched one that equals it: an activation may be
    fused in one file and stand alone in the other, and a norm may be folded.

    Args:
        matching: What names and structure told.
        a: Layer name -> float32 (1, C, ...) of A.
        b: Layer name -> float32 (1, C, ...) of B.

    Returns:
        The pairs, in the order of A, and the matching that they are.
    """
    found = {match.a.name: (match, find_turn(a[match.a.name], b[match.b.name])) for match in matching.pairs}
    free_a = {x.name: x for x in matching.only_a}
    free_b = {x.name: x for x in matching.only_b}
    weak = {name: match for name, (match, turned) in found.items() if turned is None or turned[1] < APART_DB}
    if free_a or free_b or len(weak) > 1:
        candidates = [*free_b.values(), *(match.b for match in weak.values())]
        owner = {match.b.name: name for name, match in weak.items()}
        for name, layer in [*free_a.items(), *((n, m.a) for n, m in weak.items())]:
            best = _find_equal(a[name], candidates, b)
            if best is None or (name in found and found[name][0].b is best[0]):
                continue
            other, turn, ratio = best
            candidates.remove(other)
            if (former := owner.pop(other.name, None)) is not None and former != name:
                free_a[former] = found.pop(former)[0].a
            if name in found:
                left = found[name][0].b
                free_b[left.name] = left
                candidates += [] if left in candidates else [left]
                owner.pop(left.name, None)
            free_a.pop(name, None)
            free_b.pop(other.name, None)
            found[name] = (LayerMatch(layer, other, "values"), (turn, ratio))
    order = {x.name: k for k, x in enumerate(_all_of_a(matching))}
    rows = sorted(found.items(), key=lambda item: order[item[0]])
    pairs = [RunPair(match, None if turned is None else turned[0], True) for _, (match, turned) in rows]
    kept = replace(
        matching,
        pairs=tuple(pair.match for pair in pairs),
        only_a=tuple(x for x in _all_of_a(matching) if x.name not in found),
        only_b=tuple(free_b.values()),
    )
    return pairs, kept


def _all_of_a(matching: Matching) -> list[Layer]:
    return [*(match.a for match in matching.pairs), *matching.only_a]


def _find_equal(
    value: LayerValues, candidates: Sequence[Layer], b: Mapping[str, LayerValues]
) -> tuple[Layer, Turn, float] | None:
    """The layer of B whose values are those of A's in some order of axes."""
    wanted = _measure(value)
    best: tuple[Layer, Turn, float] | None = None
    for layer in candidates:
        other = b[layer.name]
        if other.size != value.size or not _are_near(wanted, _measure(other)):
            continue
        turned = find_turn(value, other)
        if turned is not None and turned[1] >= EQUAL_DB and (best is None or turned[1] > best[2]):
            best = (layer, *turned)
    return best


def _measure(value: LayerValues) -> NDArray[np.float64]:
    """What does not depend on how a tensor is laid out: mean, deviation, smallest and largest value."""
    if not value.size:
        return np.zeros(4)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.array(
            [value.mean(dtype=np.float64), value.std(dtype=np.float64), value.min(), value.max()], np.float64
        )


def _are_near(a: NDArray[Any], b: NDArray[Any]) -> bool:
    scale = max(float(np.abs(a).max()), 1e-12)
    return bool(np.all(np.abs(a - b) <= _NEAR * scale))
