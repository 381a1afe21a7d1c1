"""The place of a side of a box as a sum over elements of outputs: what it is the derivative of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import NotComputable
from inspector.tasks.answers import Element
from inspector.tasks.candidates import Candidates
from inspector.tasks.decoder import BoxDecoder

SIDES = ("left", "top", "right", "bottom")
"""In the order of the numbers of a box."""
_STEP = 1e-2
"""Share of a number by which it is moved, or of 1; what decoders do with numbers is linear or smooth."""
_MOST = 512
"""Numbers of one place at most."""

Term = tuple[Element, float]


def find_side_terms(
    decoder: BoxDecoder, values: Mapping[str, NDArray[Any]], size: tuple[int, int], score: Element, side: str
) -> tuple[float, list[Term]]:
    """The place of a side, and its derivative with respect to the numbers that the head gives for the same place.

    Every decoder turns these numbers into a box in its own way, so they are moved one by one, and the box is looked at.

    Args:
        decoder: What turns outputs into boxes.
        values: The outputs of a run.
        size: (H, W) of the network's input.
        score: The element that holds the score of the box.
        side: ``left``, ``top``, ``right`` or ``bottom``.

    Returns:
        The place in pixels of the network's input, and for each element that it depends on the derivative.

    Raises:
        NotComputable: The box does not depend on numbers of the same place.
    """
    outputs = {name: np.array(values[name], np.float64) for name in decoder.outputs}
    number = SIDES.index(side)
    place = _find_side(decoder, outputs, size, score, number)
    terms: list[Term] = []

    def look(moved: Sequence[Element], share: float) -> float | None:
        """The side when some numbers are moved by a share of their step."""
        kept = [float(outputs[one.tensor][one.index]) for one in moved]
        for one, value in zip(moved, kept, strict=True):
            outputs[one.tensor][one.index] = value + share * _STEP * max(1.0, abs(value))
        found = _find_side(decoder, outputs, size, score, number)
        for one, value in zip(moved, kept, strict=True):
            outputs[one.tensor][one.index] = value
        return found

    # Most numbers are scores of other classes: where all of a part have no effect together, none has one alone. They
    # are moved down, so that none becomes the best class.
    waiting = [] if place is None else [_list_elements(outputs, score)]
    while waiting:
        part = waiting.pop()
        if not part or look(part, -1.0) == place:
            continue
        if len(part) > 1:
            waiting += [part[len(part) // 2 :], part[: len(part) // 2]]
            continue
        low, high = look(part, -1.0), look(part, 1.0)
        if low is not None and high is not None:
            step = _STEP * max(1.0, abs(float(outputs[part[0].tensor][part[0].index])))
            terms.append((part[0], (high - low) / (2 * step)))
    if place is None or not terms:
        raise NotComputable(
            f"the {side} of a box is not made of numbers of one place by the head {decoder.head}",
            "leave out the side: the score of a box is explained",
        )
    return place, terms


def _find_side(
    decoder: BoxDecoder, outputs: Mapping[str, NDArray[Any]], size: tuple[int, int], score: Element, number: int
) -> float | None:
    found: Candidates = decoder.decode(outputs, size)
    if found.places is None or found.tensor != score.tensor:
        return None
    hits = np.flatnonzero((found.places == np.array(score.index)).all(axis=1))
    return float(found.boxes[hits[0], number]) if len(hits) else None


def _list_elements(outputs: Mapping[str, NDArray[Any]], score: Element) -> list[Element]:
    """The numbers of the same place: those with its number along the axis of places, or at its cell of maps."""
    own = outputs[score.tensor].shape
    found: list[Element] = []
    if len(own) == 4:
        alike = [(name, array.shape[1]) for name, array in outputs.items() if array.shape[2:] == own[2:]]
        found = [Element(name, (0, c, *score.index[2:])) for name, many in alike for c in range(min(many, _MOST))]
        return [one for one in found if one != score]
    axis = max(range(1, len(own)), key=lambda i: own[i])
    many, place = own[axis], score.index[axis]
    for name, array in outputs.items():
        axes = [i for i in range(1, array.ndim) if array.shape[i] == many]
        for at in axes[-1:]:
            rest: Sequence[int] = [n for i, n in enumerate(array.shape) if i not in (0, at)]
            if int(np.prod(rest)) <= _MOST:
                found += [
                    Element(name, (0, *index[: at - 1], place, *index[at - 1 :]))
                    for index in map(tuple, np.ndindex(*rest))
                ]
    return [one for one in found if one != score]
