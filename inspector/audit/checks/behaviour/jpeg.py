"""Whether the answer stays the same for a picture that is stored as a JPEG."""

from __future__ import annotations

from inspector.audit.checks.behaviour._consistency import consistent
from inspector.audit.probes.consistency import Jpeg
from inspector.audit.result import Verdict
from inspector.audit.subject import Subject
from inspector.audit.table import Limit, Limits, check


@check(
    "consistent-jpeg",
    family="behaviour",
    title="A JPEG of low quality gets the same answer",
    severity="warning",
    limits={
        "min": Limit(0.6, "smallest share of the pictures whose top class stays", low=0, high=1),
        "quality": Limit(50, "JPEG quality, 1 to 95", kind="whole", low=1, high=95),
    },
    probes=(Jpeg,),
)
def jpeg(subject: Subject, limits: Limits, probe: Jpeg) -> Verdict:
    """Stored as a JPEG of low quality and opened again."""
    return consistent(subject, limits, probe)
