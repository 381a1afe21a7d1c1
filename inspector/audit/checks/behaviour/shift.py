"""Whether the answer stays the same for a picture that is moved."""

from __future__ import annotations

from inspector.audit.checks.behaviour._consistency import consistent
from inspector.audit.probes.consistency import Shift
from inspector.audit.result import Verdict
from inspector.audit.subject import Subject
from inspector.audit.table import Limit, Limits, check


@check(
    "consistent-shift",
    family="behaviour",
    title="A picture moved by a pixel gets the same answer",
    severity="warning",
    limits={
        "min": Limit(0.6, "smallest share of the pictures whose top class stays", low=0, high=1),
        "pixels": Limit(1, "pixels to the right and down", kind="whole", low=1, high=1000),
    },
    probes=(Shift,),
)
def shift(subject: Subject, limits: Limits, probe: Shift) -> Verdict:
    """What the network sees, moved right and down; the edge is repeated."""
    return consistent(subject, limits, probe)
