"""Average precision of detections as COCO defines it (https://cocodataset.org/#detection-eval).

Detections are matched to objects class by class and picture by picture, the best score first; a match needs an IoU of
the threshold. Precision is read at 101 recalls, made to fall with recall, and averaged over them, over the thresholds
0.50 to 0.95, and over the classes that have objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspector.metrics.boxes import TrueBoxes, compute_overlaps

THRESHOLDS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""IoU from which a detection counts as the object."""

AREAS: Mapping[str, tuple[float, float]] = {
    "all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10),
}  # fmt: skip
"""Ranges of an object's area in pixels."""

MOST = 100
"""Detections of one class that are looked at in one picture, the best scores first."""

_RECALLS = np.linspace(0.0, 1.0, 101)
_LOW, _HIGH = (np.array([bounds[end] for bounds in AREAS.values()]) for end in (0, 1))
_FLAGS = (len(AREAS), len(THRESHOLDS))


@dataclass(frozen=True)
class PrecisionSummary:
    """What average precision says of all pictures.

    Attributes:
        map50_95: Mean over thresholds and classes; NaN where there is no object.
        map50: At IoU 0.5 alone.
        map75: At IoU 0.75 alone.
        by_area: `map50_95` of small, medium and large objects; NaN where there are none.
        by_class: Average precision over the thresholds, by class, of the classes that have objects.
        by_class_50: The same at IoU 0.5 alone.
        recall: Mean over thresholds and classes of the share of objects found, whatever the score.
        objects: Objects of each of these classes that have to be found.
    """

    map50_95: float
    map50: float
    map75: float
    by_area: Mapping[str, float]
    by_class: Mapping[int, float]
    by_class_50: Mapping[int, float]
    recall: float
    objects: Mapping[int, int]


@dataclass(frozen=True, eq=False)
class _Matches:
    """The detections of one class, the best score first.

    Attributes:
        scores: (n,).
        right: (A, T, n), by range of area and threshold: whether each is an object that counts.
        ignored: (A, T, n): whether each is left out of the count.
    """

    scores: NDArray[np.float32]
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]


class AveragePrecision:
    """Takes in pictures one by one and keeps a few bytes of each detection.

    Example:
        >>> from inspector.metrics import AveragePrecision
        >>> from inspector.metrics.boxes import make_true_boxes
        >>> precision = AveragePrecision()
        >>> truth = make_true_boxes([[0, 0, 10, 10]], [3])
        >>> precision.add(np.array([[0, 0, 10, 9]]), np.array([0.8]), np.array([3]), truth)
        >>> round(precision.summary().map50_95, 2)
        0.9
    """

    def __init__(self) -> None:
        self._scores: dict[int, list[NDArray[np.float32]]] = {}
        self._flags: dict[int, list[NDArray[np.uint8]]] = {}
        self._objects: dict[int, NDArray[np.int64]] = {}

    def add(
        self,
        boxes: NDArray[np.generic],
        scores: NDArray[np.generic],
        classes: NDArray[np.generic],
        truth: TrueBoxes,
    ) -> None:
        """Take in one picture.

        Args:
            boxes: (n, 4): x1, y1, x2, y2 of the detections.
            scores: (n,); detections with a NaN are left out.
            classes: (n,).
            truth: Its objects.
        """
        sound = np.isfinite(np.asarray(scores, np.float64)) & np.isfinite(np.asarray(boxes, np.float64)).all(axis=1)
        for index in np.union1d(np.asarray(classes)[sound], truth.classes).astype(int).tolist():
            mine = np.flatnonzero(sound & (classes == index))
            mine = mine[np.argsort(-np.asarray(scores)[mine], kind="stable")][:MOST]
            own = truth.classes == index
            one = TrueBoxes(
                truth.boxes[own], truth.classes[own], truth.crowd[own], truth.difficult[own], truth.areas[own]
            )
            ignored = _find_ignored(one)
            total = self._objects.setdefault(index, np.zeros(len(AREAS), np.int64))
            total += (~ignored).sum(axis=1)
            if len(mine):
                right, left_out = _match(np.asarray(boxes, np.float64)[mine], one, ignored)
                flags = np.concatenate([right.reshape(-1, len(mine)), left_out.reshape(-1, len(mine))])
                self._scores.setdefault(index, []).append(np.asarray(scores, np.float32)[mine])
                self._flags.setdefault(index, []).append(np.packbits(flags, axis=0))

    @property
    def objects(self) -> dict[int, int]:
        """Objects that have to be found, by class, of the classes that have some."""
        return {k: int(count[0]) for k, count in sorted(self._objects.items()) if count[0]}

    def summary(self) -> PrecisionSummary:
        """The figures over everything that was taken in."""
        shape = (len(self._objects), *_FLAGS)
        precision, recall = np.full(shape, np.nan), np.full(shape, np.nan)
        for row, (index, counts) in enumerate(sorted(self._objects.items())):
            found = self._matches(index)
            for area, count in enumerate(counts.tolist()):
                if count:
                    precision[row, area], recall[row, area] = _average(found.right[area], found.ignored[area], count)
        classes = sorted(self._objects)
        known = [row for row, index in enumerate(classes) if self._objects[index][0]]
        at = {value: THRESHOLDS.index(value) for value in THRESHOLDS}
        middle = min(at, key=lambda value: abs(value - 0.75))
        return PrecisionSummary(
            map50_95=_mean(precision[:, 0]),
            map50=_mean(precision[:, 0, 0]),
            map75=_mean(precision[:, 0, at[middle]]),
            by_area={name: _mean(precision[:, k]) for k, name in enumerate(AREAS) if name != "all"},
            by_class={classes[row]: float(precision[row, 0].mean()) for row in known},
            by_class_50={classes[row]: float(precision[row, 0, 0]) for row in known},
            recall=_mean(recall[:, 0]),
            objects=self.objects,
        )

    def recalls(self, confidence: float = 0.0) -> dict[int, float]:
        """Share of each class's objects found at IoU 0.5 with a score of at least `confidence`."""
        found = {}
        for index, count in self.objects.items():
            matches = self._matches(index)
            good = matches.right[0, 0] & ~matches.ignored[0, 0] & (matches.scores >= confidence)
            found[index] = int(good.sum()) / count
        return found

    def judged(self, confidence: float = 0.0) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(scores, right) at IoU 0.5 of the detections of all classes that count, from a score of `confidence` on."""
        parts = [self._matches(index) for index in sorted(self._scores)]
        kept = [~part.ignored[0, 0] & (part.scores >= confidence) for part in parts]
        scores = [part.scores[keep] for part, keep in zip(parts, kept, strict=True)]
        right = [part.right[0, 0][keep] for part, keep in zip(parts, kept, strict=True)]
        return (
            np.concatenate(scores) if scores else np.zeros(0, np.float32),
            np.concatenate(right) if right else np.zeros(0, bool),
        )

    def _matches(self, index: int) -> _Matches:
        count = int(np.prod(_FLAGS))
        if index not in self._scores:
            empty = np.zeros((*_FLAGS, 0), bool)
            return _Matches(np.zeros(0, np.float32), empty, empty)
        scores = np.concatenate(self._scores[index])
        flags = np.unpackbits(np.concatenate(self._flags[index], axis=1), axis=0, count=2 * count).astype(bool)
        order = np.argsort(-scores, kind="stable")
        right, ignored = flags[:, order].reshape(2, *_FLAGS, len(scores))
        return _Matches(scores[order], right, ignored)


def _find_ignored(truth: TrueBoxes) -> NDArray[np.bool_]:
    """bool (A, m): which objects do not count, by range of area."""
    outside = (truth.areas < _LOW[:, None]) | (truth.areas > _HIGH[:, None])
    return np.asarray(outside | ~truth.counted)


def _match(
    boxes: NDArray[np.float64], truth: TrueBoxes, ignored: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(right, left out), bool (A, T, n) each, of detections of one class in one picture, the best score first.

    A detection takes the object that it overlaps most of those that are free and count, else of those that do not
    count; then it is left out. A crowd and a difficult object take any number. What matches nothing is wrong, or left
    out where its own area is outside the range.
    """
    shape = (*_FLAGS, len(boxes))
    right, left_out = np.zeros(shape, bool), np.zeros(shape, bool)
    overlaps = compute_overlaps(boxes, truth.boxes, truth.crowd)
    endless = ~truth.counted
    taken = np.zeros((*_FLAGS, len(truth)), bool)
    limits = np.array(THRESHOLDS)[None, :, None]
    counts = ~ignored[:, None, :]
    for place in np.flatnonzero((overlaps >= THRESHOLDS[0]).any(axis=1)) if len(truth) else ():
        near = overlaps[place]
        able = (near >= limits) & (~taken | endless)
        for wanted, result in ((able & counts, right), (able & ~counts, left_out)):
            free = ~(right[..., place] | left_out[..., place]) & wanted.any(axis=2)
            # Of several with the same overlap the last one, as in COCO's own code.
            best = len(near) - 1 - np.where(wanted, near, -1.0)[..., ::-1].argmax(axis=2)
            areas, thresholds = np.nonzero(free)
            taken[areas, thresholds, best[free]] = True
            result[..., place] |= free
    areas_own = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    outside = (areas_own < _LOW[:, None]) | (areas_own > _HIGH[:, None])
    left_out |= outside[:, None, :] & ~right
    return right, left_out


def _average(
    right: NDArray[np.bool_], ignored: NDArray[np.bool_], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(average precision, recall), float64 (T,) each, of one class with `count` objects; inputs bool (T, n)."""
    good = np.cumsum(right & ~ignored, axis=1, dtype=np.float64)
    bad = np.cumsum(~right & ~ignored, axis=1, dtype=np.float64)
    recall = good / count
    precision = good / np.maximum(good + bad, 1)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    found = np.zeros(len(right))
    for row in range(len(right)):
        places = np.searchsorted(recall[row], _RECALLS, side="left")
        inside = places < recall.shape[1]
        found[row] = precision[row, places[inside]].sum() / len(_RECALLS)
    return found, recall[:, -1] if recall.shape[1] else np.zeros(len(right))


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
