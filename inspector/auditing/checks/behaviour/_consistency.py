"""What the six checks of consistency share."""

from __future__ import annotations

from inspector.auditing.limits import Limits
from inspector.auditing.probes.consistency import SURE, Consistency
from inspector.auditing.result import Finding, NotChecked, Verdict, Where, at_least
from inspector.auditing.subject import Subject

FEWEST = 8
"""Pictures below which a share of changed answers says nothing."""


def judge_consistency(subject: Subject, limits: Limits, probe: Consistency) -> Verdict:
    """The verdict on the share of pictures whose top class stays, of boxes that are found again, or of pixels."""
    if probe.tried < FEWEST:
        raise NotChecked(f"{probe.tried} pictures are too few to tell; {FEWEST} are needed")
    if subject.model.classifier is None:
        return _judge_places(probe, limits["min"], subject.model.task == "segment")
    message = f"{probe.agreement:.1%} of {probe.tried} pictures keep their top class when {probe.words}"
    findings = [Finding(message, probe.agreement, limits["min"])] + [
        Finding(
            f"{c.shown}: {c.before} ({c.probability:.0%}) becomes {c.after} when {probe.words}", c.probability,
            where=Where(image=c.shown),
        )
        for c in sorted(probe.changed, key=lambda c: -c.probability)
    ]  # fmt: skip
    details = {"changed": [c.shown for c in probe.changed]}
    return at_least(probe.agreement, limits["min"], message, findings=findings, details=details)


def _judge_places(probe: Consistency, limit: float | None, pixels: bool) -> Verdict:
    """The verdict on the boxes of a detector, or the pixels of a segmenter."""
    shares = probe.pixels if pixels else probe.boxes.by_picture
    if not shares:
        raise NotChecked(f"no object is found on the {probe.tried} pictures with a score of {SURE:g} or more")
    what = "pixels keep their class" if pixels else "boxes are found again"
    message = f"{probe.agreement:.1%} of the {what} on {probe.tried} pictures when {probe.words}"
    worst = sorted(shares.items(), key=lambda item: item[1])
    findings = [Finding(message, probe.agreement, limit)] + [
        Finding(f"{shown}: {share:.0%} of the {what} when {probe.words}", share, limit, Where(image=shown))
        for shown, share in worst
        if limit is not None and share < limit
    ]
    details = {"shares": shares} if pixels else {"shares": shares, "score_shift": probe.boxes.score_shift}
    where = Where(image=worst[0][0]) if worst[0][1] < 1 else Where()
    return at_least(probe.agreement, limit, message, where=where, findings=findings, details=details)
