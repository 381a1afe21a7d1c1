"""Whether model and reference find the same objects."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.boxes import BoxDrift
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict, Where, at_least
from inspector.auditing.snapshot import LEAST_KEPT
from inspector.auditing.subject import Subject


@check(
    title="The boxes are the reference's",
    limits={
        "min": Limit(0.9, "smallest share of the boxes of both that are matched", low=0, high=1),
        "max_score_shift": Limit(0.1, "largest mean difference of score of matched boxes", low=0, high=1),
        "confidence": Limit(0.25, "score from which boxes are compared", low=LEAST_KEPT, high=1, optional=False),
        "min_pictures": Limit(
            5, "pictures in common below which nothing is compared; fewer where fewer are given", kind="whole", low=1
        ),
    },
    probes=(BoxDrift,),
    asked_by="reference",
    remedy="Look at the pictures that are listed; where the new boxes are right, save a new snapshot.",
)
def drift_boxes(subject: Subject, limits: Limits, drift: BoxDrift) -> Verdict:
    """Share of the boxes that both find, matched one to one by class (by name) at IoU 0.5, and how the scores moved.

    It is twice the matched boxes over the boxes of both together.
    """
    drift.need_boxes(int(limits["min_pictures"]))
    found, limit, allowed = drift.agreement, limits["min"], limits["max_score_shift"]
    message = f"{found.share:.1%} of the boxes on {drift.compared} pictures are the reference's"
    message += f"; scores moved by {found.score_shift:.3f} on average" if found.matched else ""
    details = {"shares": found.by_picture, "matched": found.matched, "score_shift": found.score_shift}
    worst = sorted(found.by_picture.items(), key=lambda item: item[1])
    findings = [Finding(message, found.share, limit)] + [
        Finding(f"{shown}: {share:.0%} of the boxes are the reference's", share, limit, Where(image=shown))
        for shown, share in worst
        if limit is not None and share < limit
    ]
    if (limit is None or found.share >= limit) and allowed is not None and found.score_shift > allowed:
        finding = Finding(message, found.score_shift, allowed)
        return Verdict(message, found.score_shift, allowed, findings=(finding,), details=details)
    return at_least(found.share, limit, message, findings=findings, details=details)
