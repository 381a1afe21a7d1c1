"""Whether the answer stays the same for a picture that is flipped."""

from __future__ import annotations

from inspector.auditing.checks.behaviour._consistency import judge_consistency
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.consistency import Flip
from inspector.auditing.registry import check
from inspector.auditing.result import Verdict
from inspector.auditing.subject import Subject


@check(
    title="A flipped picture gets the same answer",
    severity="warning",
    limits={
        "min": Limit(0.6, "smallest share of the answers that stay: top classes, boxes, or pixels", low=0, high=1),
    },
    probes=(Flip,),
    remedy="Train with flipped pictures. Turn the check off where left and right are different classes.",
)
def consistent_flip(subject: Subject, limits: Limits, probe: Flip) -> Verdict:
    """Left and right exchanged. Turn it off for classes that differ by their side."""
    return judge_consistency(subject, limits, probe)
