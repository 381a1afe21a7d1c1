"""Whether the answer stays the same for a picture that is moved."""

from __future__ import annotations

from inspector.auditing.checks.behaviour._consistency import judge_consistency
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.consistency import Shift
from inspector.auditing.registry import check
from inspector.auditing.result import Verdict
from inspector.auditing.subject import Subject


@check(
    title="A picture moved by a pixel gets the same answer",
    severity="warning",
    limits={
        "min": Limit(0.6, "smallest share of the answers that stay: top classes, boxes, or pixels", low=0, high=1),
        "pixels": Limit(1, "pixels to the right and down", kind="whole", low=1, high=1000),
    },
    probes=(Shift,),
    remedy="Train with random crops; a blur before each stride keeps what a shift by one pixel changes.",
)
def consistent_shift(subject: Subject, limits: Limits, probe: Shift) -> Verdict:
    """What the network sees, moved right and down; the edge is repeated."""
    return judge_consistency(subject, limits, probe)
