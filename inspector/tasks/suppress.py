"""Suppression of boxes that show the same object: of those that overlap, the one with the highest score stays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def suppress(
    boxes: NDArray[Any],
    scores: NDArray[Any],
    classes: NDArray[Any],
    limit: float,
    rotated: NDArray[Any] | None = None,
    most: int | None = None,
) -> NDArray[np.int64]:
    """Choose boxes, the highest score first, without those that overlap a better one of their class.

    The same as ``torchvision.ops.batched_nms``; of equal scores the first stands first. Oriented boxes go by the rule
    that Ultralytics has for them, the fast one of YOLACT (arXiv 1904.02689): a box goes where it overlaps any better
    one, even one that went itself.

    Args:
        boxes: (n, 4): x1, y1, x2, y2.
        scores: (n,).
        classes: (n,).
        limit: Intersection over union, in [0, 1], above which two boxes show the same object.
        rotated: (n, 5), centre, width, height, angle of oriented boxes; their overlap is then the probabilistic one of
            Llerena et al. 2021 (arXiv 2106.06072).
        most: How many stay at most; None sets no limit.

    Returns:
        int64 (m,), indices of those that stay.
    """
    kept: list[NDArray[np.int64]] = []
    order = np.argsort(-scores, kind="stable")
    for index in np.unique(classes):
        rest = order[classes[order] == index]
        if rotated is not None:
            kept.append(rest[_find_clear(rotated[rest], limit, most)])
            continue
        chosen: list[int] = []
        while len(rest) and (most is None or len(chosen) < most):
            best, rest = rest[0], rest[1:]
            chosen.append(best)
            overlap = measure_iou(boxes[best], boxes[rest])
            # A box without an area overlaps nothing: 0 / 0 is not above any limit.
            rest = rest[~(overlap.astype(np.float64) > limit)]
        kept.append(np.array(chosen, np.int64))
    if not kept:
        return np.zeros(0, np.int64)
    together = np.concatenate(kept)
    place = np.empty(len(scores), np.int64)
    place[order] = np.arange(len(scores))
    return together[np.argsort(place[together])][:most]


def _find_clear(rotated: NDArray[Any], limit: float, most: int | None) -> list[int]:
    """The places of oriented boxes (n, 5), the best first, that overlap no better one; at most `most`."""
    clear, chosen = np.ones(len(rotated), np.bool_), []
    for place in range(len(rotated)):
        if clear[place]:
            chosen.append(place)
            if most is not None and len(chosen) == most:
                break
        later = slice(place + 1, None)
        clear[later] &= ~(measure_probabilistic_iou(rotated[place], rotated[later]) > limit)
    return chosen


def measure_iou(box: NDArray[Any], boxes: NDArray[Any]) -> NDArray[np.float32]:
    """Intersection over union of one box with each of others: (4,), (n, 4) -> float32 (n,); NaN for 0 / 0."""
    one, others = box.astype(np.float32), boxes.astype(np.float32)
    sides = np.minimum(one[2:], others[:, 2:]) - np.maximum(one[:2], others[:, :2])
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        inner = np.prod(np.maximum(sides, 0), axis=1)
        areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
        return np.asarray(inner / ((one[2] - one[0]) * (one[3] - one[1]) + areas - inner), np.float32)


def measure_probabilistic_iou(box: NDArray[Any], boxes: NDArray[Any]) -> NDArray[np.float64]:
    """One minus the Hellinger distance of the Gaussians of oriented boxes: (5,), (n, 5) -> float64 (n,) in [0, 1]."""
    (x1, y1), (a1, b1, c1) = box[:2].astype(np.float64), _covariance(box[None])[0]
    others = boxes[:, :2].astype(np.float64)
    a2, b2, c2 = _covariance(boxes).T
    a, b, c = a1 + a2, b1 + b2, c1 + c2
    dx, dy = others[:, 0] - x1, others[:, 1] - y1
    with np.errstate(invalid="ignore", divide="ignore"):
        total = a * b - c * c
        # The Bhattacharyya distance of two Gaussians; the mean covariance is half of their sum.
        distance = (b * dx * dx + a * dy * dy - 2 * c * dx * dy) / (4 * total)
        spread = np.sqrt(np.maximum((a1 * b1 - c1 * c1) * (a2 * b2 - c2 * c2), 0))
        distance += np.log(np.maximum(total / (4 * spread), 1e-300)) / 2
        return np.asarray(1 - np.sqrt(np.maximum(1 - np.exp(-np.maximum(distance, 0)), 0)))


def _covariance(boxes: NDArray[Any]) -> NDArray[np.float64]:
    """Variance along x, along y, and covariance, of a uniform box: (n, 5) -> float64 (n, 3)."""
    _, _, w, h, angle = boxes.astype(np.float64).T
    w, h, cos, sin = w * w / 12, h * h / 12, np.cos(angle), np.sin(angle)
    return np.stack([w * cos**2 + h * sin**2, w * sin**2 + h * cos**2, (w - h) * cos * sin], axis=1)
