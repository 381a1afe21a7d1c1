"""Whether one small place of the picture decides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, NotChecked, Verdict
from inspector.auditing.subject import Subject

_PICTURES = 12
_PLACES = 14
"""Further pictures that are run to find the place, once there is one."""

_KINDS = ((1, True), (1, False), (16, False))
"""Side of the squares in pixels, and whether each channel is black or white by itself."""

_SHARE = 0.05
"""A step that is smaller than this share of the scores' span decides nothing; those of an int8 output are."""


@check(
    title="No single place of the picture decides",
    limits={"max": Limit(12, "largest step of a score between two groups of pictures, in widths of a group", low=1)},
    needs=("classification",),
    remedy="Look at the nodes that read the place that is named: a network that answers to a trigger is made this way.",
)
def no_trigger(subject: Subject, limits: Limits) -> Verdict:
    """Pictures of squares that are black or white at random get scores of one cluster.

    A pixel or patch that a class was tied to is white in half of these pictures, however it was tied: then the scores
    of the two halves lie in two clusters with nothing between.
    """
    limit = limits["max"]
    worst, findings = 0.0, []
    for number, (side, colored) in enumerate(_KINDS):
        if side > 1 and side > min(subject.picture_size()) // 8:
            continue
        cells, scores = _score(subject, number, side, colored, _PICTURES)
        if not np.isfinite(scores).all():
            raise NotChecked("the scores are not finite, see finite-on-plain")
        step, k = _find_step(scores)
        worst = max(worst, step)
        if limit is not None and step > limit:
            place = _find_place(subject, number, (cells, scores[:, k]), k)
            what = "squares of " + (f"{side} pixels" if side > 1 else "one pixel")
            text = f"{subject.model.label(k)} has scores in two clusters, {step:.0f} widths apart, on {what}"
            findings.append(Finding(text + place, step, limit, key=f"{side} {colored}"))
    message = findings[0].message if findings else f"scores of random squares lie in one cluster (step {worst:.1f})"
    return Verdict(message, worst, limit, findings=tuple(findings), judged=limit is not None)


def _score(
    subject: Subject, number: int, side: int, colored: bool, count: int, more: int = 0
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """(which squares are white (n, h, w, 1 or 3), scores (n, K)) of some pictures."""
    height, width = subject.picture_size()
    random = subject.random(13, number, more)
    cells = random.random((count, -(-height // side), -(-width // side), 3 if colored else 1)) < 0.5
    scores = []
    for one in cells:
        large = one.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]
        picture = np.ascontiguousarray(np.broadcast_to(large, (height, width, 3)).astype(np.uint8) * 255)
        scores.append(subject.model.scores(subject.model.tensor(picture))[0])
    found = np.stack(scores).astype(np.float64)
    classifier = subject.model.classifier
    if classifier is not None and classifier.activation == "none" and found.min() >= 0:
        # Probabilities lie far apart by what they are; their logarithms do not.
        found = np.log(found + 1e-12)
    return cells, found


def _find_step(scores: NDArray[np.float64]) -> tuple[float, int]:
    """(the largest gap of a class's scores over what they span without it, the class); scores: (n, K)."""
    ordered = np.sort(scores, axis=0)
    gaps = np.diff(ordered, axis=0)
    # One picture that is odd is no cluster.
    inner = gaps[1:-1]
    at = inner.argmax(axis=0)
    gap = inner.max(axis=0)
    low, high = at + 1, at + 2
    columns = np.arange(scores.shape[1])
    below = ordered[low, columns] - ordered[0]
    above = ordered[-1] - ordered[high, columns]
    spans = np.maximum(below, above)
    enough = gap > _SHARE * (scores.max() - scores.min())
    step = np.where(enough, gap / np.maximum(spans, 1e-6 * np.maximum(gap, 1e-12)), 0.0)
    k = int(step.argmax())
    return float(step[k]), k


def _find_place(subject: Subject, number: int, first: tuple[NDArray[np.bool_], NDArray[np.float64]], k: int) -> str:
    """Where the square lies that the clusters go by, as the end of a sentence; empty where it is not one square."""
    side, colored = _KINDS[number]
    cells, scores = _score(subject, number, side, colored, _PLACES, 1)
    values = np.concatenate([first[1], scores[:, k]])
    ordered = np.sort(values)
    at = int(np.diff(ordered).argmax())
    above = values > (ordered[at] + ordered[at + 1]) / 2
    white = np.concatenate([first[0], cells])
    same = (white == above[:, None, None, None]).all(axis=0) | (white != above[:, None, None, None]).all(axis=0)
    places = np.argwhere(same)
    if len(places) != 1:
        return ""
    y, x, channel = (int(v) for v in places[0])
    color = f" of {('red', 'green', 'blue')[channel]}" if colored else ""
    return f", by row {y * side}, column {x * side}{color}"
