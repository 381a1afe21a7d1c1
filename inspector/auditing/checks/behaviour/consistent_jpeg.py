"""Whether the answer stays the same for a picture that is stored as a JPEG."""

from __future__ import annotations

from inspector.auditing.checks.behaviour._consistency import judge_consistency
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.consistency import Jpeg
from inspector.auditing.registry import check
from inspector.auditing.result import Verdict
from inspector.auditing.subject import Subject


@check(
    title="A JPEG of low quality gets the same answer",
    severity="warning",
    limits={
        "min": Limit(0.6, "smallest share of the answers that stay: top classes, boxes, or pixels", low=0, high=1),
        "quality": Limit(50, "JPEG quality, 1 to 95", kind="whole", low=1, high=95),
    },
    probes=(Jpeg,),
    remedy="Train with JPEG pictures of low quality, or store the pictures better.",
)
def consistent_jpeg(subject: Subject, limits: Limits, probe: Jpeg) -> Verdict:
    """Stored as a JPEG of low quality and opened again."""
    return judge_consistency(subject, limits, probe)
