"""Whether the answer stays the same for a picture that is blurred."""

from __future__ import annotations

from inspector.auditing.checks.behaviour._consistency import judge_consistency
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.consistency import Blur
from inspector.auditing.registry import check
from inspector.auditing.result import Verdict
from inspector.auditing.subject import Subject


@check(
    title="A slightly blurred picture gets the same answer",
    severity="warning",
    limits={
        "min": Limit(0.6, "smallest share of the answers that stay: top classes, boxes, or pixels", low=0, high=1),
        "radius": Limit(
            0.7, "deviation of the Gaussian", unit="pixels of the input", low=0.1, high=100, optional=False
        ),
    },
    probes=(Blur,),
    remedy="Train with blurred pictures, or resize with the same filter as in the training.",
)
def consistent_blur(subject: Subject, limits: Limits, probe: Blur) -> Verdict:
    """A Gaussian blur of what the network sees."""
    return judge_consistency(subject, limits, probe)
