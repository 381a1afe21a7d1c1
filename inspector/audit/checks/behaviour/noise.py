"""Whether the answer stays the same for a picture with noise."""

from __future__ import annotations

from inspector.audit.checks.behaviour._consistency import consistent
from inspector.audit.probes.consistency import Noise
from inspector.audit.result import Verdict
from inspector.audit.subject import Subject
from inspector.audit.table import Limit, Limits, check


@check(
    "consistent-noise",
    family="behaviour",
    title="A slightly noisy picture gets the same answer",
    severity="warning",
    limits={
        "min": Limit(0.6, "smallest share of the pictures whose top class stays", low=0, high=1),
        "sigma": Limit(4, "deviation of the noise, in levels of 0 to 255", low=0.1, high=255, optional=False),
    },
    probes=(Noise,),
)
def noise(subject: Subject, limits: Limits, probe: Noise) -> Verdict:
    """Normal noise on every pixel of what the network sees."""
    return consistent(subject, limits, probe)
