"""Boxes against boxes: how far they overlap, and which of two sets are the same object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.metrics.outlines import Outline

SAME = 0.5
"""IoU from which two boxes of one class are the same object."""


@dataclass(frozen=True, eq=False)
class TrueBoxes:
    """The labelled objects of one picture.

    Attributes:
        boxes: float64 (n, 4): x1, y1, x2, y2 in pixels of the picture as a person sees it.
        classes: int64 (n,), each 0 or more.
        crowd: bool (n,): one box around many objects (COCO's iscrowd). What lies in it is neither right nor wrong.
        difficult: bool (n,): may be found or not (Pascal VOC's difficult).
        areas: float64 (n,) in pixels, of the object where its outline is known, else of its box.
        outlines: Of each object, None where only its box is known; empty where none is known.
    """

    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    areas: NDArray[np.float64]
    outlines: tuple[Outline | None, ...] = ()

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def counted(self) -> NDArray[np.bool_]:
        """bool (n,): the objects that have to be found."""
        return ~(self.crowd | self.difficult)

    def pick(self, which: NDArray[np.bool_], classes: NDArray[np.int64] | None = None) -> TrueBoxes:
        """Those that `which`, bool (n,), names; `classes` (n,) are then their classes."""
        own = self.classes if classes is None else classes
        outlines = tuple(one for one, kept in zip(self.outlines, which, strict=False) if kept)
        return TrueBoxes(
            self.boxes[which], own[which], self.crowd[which], self.difficult[which], self.areas[which], outlines
        )


# Wide: what is known of labelled objects; all but the first two by keyword.
def make_true_boxes(
    boxes: Any,
    classes: Any,
    *,
    crowd: Any = None,
    difficult: Any = None,
    areas: Any = None,
    outlines: Sequence[Outline | None] = (),
) -> TrueBoxes:
    """Labelled objects from any sequences.

    Args:
        boxes: (n, 4): x1, y1, x2, y2.
        classes: (n,).
        crowd: (n,); by default none is one.
        difficult: (n,); by default none is.
        areas: (n,); by default those of the boxes.
        outlines: Of each object; by default none is known.
    """
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    count = len(corners)
    sizes = np.prod(corners[:, 2:] - corners[:, :2], axis=1) if areas is None else areas
    return TrueBoxes(
        corners,
        np.asarray(classes, np.int64).reshape(count),
        np.zeros(count, bool) if crowd is None else np.asarray(crowd, bool).reshape(count),
        np.zeros(count, bool) if difficult is None else np.asarray(difficult, bool).reshape(count),
        np.asarray(sizes, np.float64).reshape(count),
        tuple(outlines) if any(one is not None for one in outlines) else (),
    )


def compute_overlaps(
    found: NDArray[Any], others: NDArray[Any], crowd: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Intersection over union of every pair of boxes.

    Args:
        found: (n, 4): x1, y1, x2, y2.
        others: (m, 4).
        crowd: bool (m,): with these, the intersection is divided by the area of the box of `found` alone, as in COCO.

    Returns:
        float64 (n, m) in [0, 1]; 0 for boxes without area, and where a number is NaN.
    """
    a, b = np.asarray(found, np.float64).reshape(-1, 1, 4), np.asarray(others, np.float64).reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    inside = np.where((sides > 0).all(axis=2), sides[..., 0] * sides[..., 1], 0.0)
    own = (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1])
    other = (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    whole = own + other - inside
    if crowd is not None:
        whole = np.where(crowd[None, :], np.broadcast_to(own, whole.shape), whole)
    return np.divide(inside, whole, out=np.zeros_like(inside), where=(inside > 0) & (whole > 0))


def match_boxes(
    boxes: NDArray[Any], classes: NDArray[Any], others: NDArray[Any], other_classes: NDArray[Any], least: float = SAME
) -> NDArray[np.int64]:
    """Which of `others` each box is: of the same class, IoU at least `least`, each taken once.

    The boxes choose in the order given (the best score first), each the one that it overlaps most.

    Args:
        boxes: (n, 4): x1, y1, x2, y2.
        classes: (n,).
        others: (m, 4).
        other_classes: (m,).
        least: Smallest IoU.

    Returns:
        int64 (n,): the place among `others`; -1 for none.
    """
    overlaps = compute_overlaps(boxes, others)
    overlaps[np.asarray(classes)[:, None] != np.asarray(other_classes)[None, :]] = -1
    partner = np.full(len(overlaps), -1, np.int64)
    for place in np.flatnonzero((overlaps >= least).any(axis=1)):
        best = int(overlaps[place].argmax())
        if overlaps[place, best] >= least:
            partner[place] = best
            overlaps[:, best] = -1
    return partner


@dataclass
class BoxAgreement:
    """How far two detectors, or one detector on two versions of a picture, find the same boxes.

    Attributes:
        matched: Boxes of the one that the other has too.
        total: Boxes of both together.
        shift: Sum of the absolute differences of score of those matched.
        by_picture: Share of each picture's boxes that are found by both, by its name; without pictures without boxes.
    """

    matched: int = 0
    total: int = 0
    shift: float = 0.0
    by_picture: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, ours: Any, theirs: Any) -> None:
        """Take in one picture.

        Args:
            name: Its name.
            ours: What the one found, with `boxes` (n, 4), `classes` (n,) and `scores` (n,), the best score first.
            theirs: What the other found.
        """
        partner = match_boxes(ours.boxes, ours.classes, theirs.boxes, theirs.classes)
        same = partner >= 0
        total = len(ours.classes) + len(theirs.classes)
        self.matched += int(same.sum())
        self.total += total
        self.shift += float(np.abs(ours.scores[same].astype(float) - theirs.scores[partner[same]]).sum())
        if total:
            self.by_picture[name] = 2 * int(same.sum()) / total

    @property
    def share(self) -> float:
        """Twice the matched boxes over all boxes of both, in [0, 1]; 1 where neither found any."""
        return 2 * self.matched / self.total if self.total else 1.0

    @property
    def score_shift(self) -> float:
        """Mean absolute difference of score of the matched boxes; 0 where there are none."""
        return self.shift / self.matched if self.matched else 0.0
