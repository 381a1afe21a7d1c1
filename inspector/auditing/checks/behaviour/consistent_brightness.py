"""Whether the answer stays the same for a picture in other light."""

from __future__ import annotations

from inspector.auditing.checks.behaviour._consistency import judge_consistency
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.consistency import Brightness
from inspector.auditing.registry import check
from inspector.auditing.result import Verdict
from inspector.auditing.subject import Subject


@check(
    title="A lighter or darker picture gets the same answer",
    severity="warning",
    limits={
        "min": Limit(0.6, "smallest share of the answers that stay: top classes, boxes, or pixels", low=0, high=1),
        "share": Limit(0.15, "how much lighter or darker", low=0.01, high=1, optional=False),
    },
    probes=(Brightness,),
    remedy="Train with pictures of other brightness; check mean and std of the preprocess.",
)
def consistent_brightness(subject: Subject, limits: Limits, probe: Brightness) -> Verdict:
    """Every pixel times 1 + share or 1 - share, at random."""
    return judge_consistency(subject, limits, probe)
