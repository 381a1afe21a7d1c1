"""Whether the answer stays the same for a picture that is flipped."""

from __future__ import annotations

from inspector.audit.checks.behaviour._consistency import consistent
from inspector.audit.probes.consistency import Flip
from inspector.audit.result import Verdict
from inspector.audit.subject import Subject
from inspector.audit.table import Limit, Limits, check


@check(
    "consistent-flip",
    family="behaviour",
    title="A flipped picture gets the same answer",
    severity="warning",
    limits={
        "min": Limit(0.6, "smallest share of the pictures whose top class stays", low=0, high=1),
    },
    probes=(Flip,),
)
def flip(subject: Subject, limits: Limits, probe: Flip) -> Verdict:
    """Left and right exchanged. Turn it off for classes that differ by their side."""
    return consistent(subject, limits, probe)
