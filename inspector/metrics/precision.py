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
_COUNT = len(AREAS) * len(THRESHOLDS)
_Rows = tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.uint8]]


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
        # By picture: classes (n,), scores (n,), flags (bytes, n). One for each class would cost more than it holds.
        self._rows: list[_Rows] = []
        self._objects: dict[int, NDArray[np.int64]] = {}

    def add(
        self,
        boxes: NDArray[np.generic],
        scores: NDArray[np.generic],
        classes: NDArray[np.generic],
        truth: TrueBoxes,
        masks: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    ) -> None:
        """Take in one picture.

        Args:
            boxes: (n, 4): x1, y1, x2, y2 of the detections.
            scores: (n,); detections with a NaN are left out.
            classes: (n,).
            truth: Its objects.
            masks: What `compute_mask_overlaps` gives of the detections' masks and the objects'; masks are then judged,
                and not boxes.
        """
        corners, sure = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(scores, np.float32)
        own = np.asarray(classes).astype(np.int32)
        sound = np.isfinite(sure) & np.isfinite(corners).all(axis=1)
        own_areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1) if masks is None else masks[1]
        kept, flags = [], []
        for index in np.unique(truth.classes).tolist():
            mine = _order(sure, np.flatnonzero(sound & (own == index)))
            one = truth.pick(truth.classes == index)
            ignored = _find_ignored(one)
            total = self._objects.setdefault(index, np.zeros(len(AREAS), np.int64))
            total += (~ignored).sum(axis=1)
            kept.append(mine)
            near = None if masks is None else masks[0][np.ix_(mine, truth.classes == index)]
            flags.append(_match(corners[mine], one, ignored, near, own_areas[mine]))
        # What is of no class that is here has nothing to match: all of it at once, since a picture has tens of classes.
        rest = np.flatnonzero(sound & ~np.isin(own, truth.classes))
        rest = np.concatenate([_order(sure, rest[own[rest] == k]) for k in np.unique(own[rest])] or [rest])
        for index in np.unique(own[rest]).tolist():
            self._objects.setdefault(index, np.zeros(len(AREAS), np.int64))
        nothing = truth.pick(np.zeros(len(truth), bool))
        kept.append(rest)
        flags.append(_match(corners[rest], nothing, _find_ignored(nothing), None, own_areas[rest]))
        places = np.concatenate(kept)
        if len(places):
            bits = np.concatenate([np.concatenate([flag[side] for flag in flags], axis=2) for side in (0, 1)])
            packed = np.packbits(bits.reshape(2 * _COUNT, len(places)), axis=0)
            self._rows.append((own[places], sure[places], packed))

    @property
    def objects(self) -> dict[int, int]:
        """Objects that have to be found, by class, of the classes that have some."""
        return {k: int(count[0]) for k, count in sorted(self._objects.items()) if count[0]}

    def summary(self) -> PrecisionSummary:
        """The figures over everything that was taken in."""
        together = self._join()
        shape = (len(self._objects), *_FLAGS)
        precision, recall = np.full(shape, np.nan), np.full(shape, np.nan)
        for row, (index, counts) in enumerate(sorted(self._objects.items())):
            found = _pick(together, index)
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
        found, together = {}, self._join()
        for index, count in self.objects.items():
            matches = _pick(together, index)
            good = matches.right[0, 0] & ~matches.ignored[0, 0] & (matches.scores >= confidence)
            found[index] = int(good.sum()) / count
        return found

    def judged(self, confidence: float = 0.0) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(scores, right) at IoU 0.5 of the detections of all classes that count, from a score of `confidence` on."""
        _, scores, packed = self._join()
        right, ignored = _unpack(packed)
        kept = ~ignored[0, 0] & (scores >= confidence)
        return scores[kept], right[0, 0][kept]

    def _join(self) -> _Rows:
        """The rows of all pictures, in their order."""
        if not self._rows:
            return np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros((-(-2 * _COUNT // 8), 0), np.uint8)
        classes, scores, flags = zip(*self._rows, strict=True)
        return np.concatenate(classes), np.concatenate(scores), np.concatenate(flags, axis=1)


def _pick(rows: _Rows, index: int) -> _Matches:
    """The detections of one class."""
    mine = np.flatnonzero(rows[0] == index)
    mine = mine[np.argsort(-rows[1][mine], kind="stable")]
    return _Matches(rows[1][mine], *_unpack(rows[2][:, mine]))


def _unpack(packed: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(right, ignored), bool (A, T, n) each."""
    flags = np.unpackbits(packed, axis=0, count=2 * _COUNT).astype(bool)
    right, ignored = flags.reshape(2, *_FLAGS, packed.shape[1])
    return right, ignored


def _order(scores: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of detections of one class, the best score first, MOST at most."""
    return places[np.argsort(-scores[places], kind="stable")][:MOST]


def _find_ignored(truth: TrueBoxes) -> NDArray[np.bool_]:
    """bool (A, m): which objects do not count, by range of area."""
    outside = (truth.areas < _LOW[:, None]) | (truth.areas > _HIGH[:, None])
    return np.asarray(outside | ~truth.counted)


def _match(
    boxes: NDArray[np.float64],
    truth: TrueBoxes,
    ignored: NDArray[np.bool_],
    overlaps: NDArray[np.float64] | None,
    areas_own: NDArray[np.float64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(right, left out), bool (A, T, n) each, of detections of one class in one picture, the best score first.

    A detection takes the object that it overlaps most of those that are free and count, else of those that do not
    count; then it is left out. A crowd and a difficult object take any number. What matches nothing is wrong, or left
    out where its own area is outside the range.
    """
    shape = (*_FLAGS, len(boxes))
    right, left_out = np.zeros(shape, bool), np.zeros(shape, bool)
    overlaps = compute_overlaps(boxes, truth.boxes, truth.crowd) if overlaps is None else overlaps
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
