"""How many pictures are recognised."""

from __future__ import annotations

from inspector.audit.probes.predictions import Labelled
from inspector.audit.result import Finding, Verdict, Where, at_least
from inspector.audit.subject import Subject
from inspector.audit.table import Limit, Limits, check


@check(
    "accuracy",
    family="behaviour",
    title="Most pictures are recognised",
    limits={"min": Limit(0.6, "smallest share of the pictures whose top class is their own", low=0, high=1)},
    probes=(Labelled,),
)
def accuracy(subject: Subject, limits: Limits, said: Labelled) -> Verdict:
    """Share of the labelled pictures whose most likely class is their own."""
    found = said.accuracy
    label = subject.model.label
    wrong = [s for s in said.said if s.index != s.label]
    limit = limits["min"]
    message = f"{found:.1%} of {len(said.said)} pictures are recognised"
    findings = [Finding(f"{message}, where {limit or 0:.1%} are asked", found, limit)] + [
        Finding(f"{s.shown} is taken for {label(s.index)} ({s.probability:.0%})", where=Where(image=s.shown))
        for s in sorted(wrong, key=lambda s: -s.probability)
    ]
    return at_least(found, limit, message, findings=findings)
