"""Whether the answer stays the same for a picture with noise."""

from __future__ import annotations

from inspector.auditing.checks.behaviour._consistency import judge_consistency
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.consistency import Noise
from inspector.auditing.registry import check
from inspector.auditing.result import Verdict
from inspector.auditing.subject import Subject


@check(
    title="A slightly noisy picture gets the same answer",
    severity="warning",
    limits={
        "min": Limit(0.6, "smallest share of the answers that stay: top classes, boxes, or pixels", low=0, high=1),
        "sigma": Limit(4, "deviation of the noise", unit="levels of 0 to 255", low=0.1, high=255, optional=False),
    },
    probes=(Noise,),
    remedy="Train with noise, or with pictures of the camera that will be used.",
)
def consistent_noise(subject: Subject, limits: Limits, probe: Noise) -> Verdict:
    """Normal noise on every pixel of what the network sees."""
    return judge_consistency(subject, limits, probe)
