"""What the six checks of consistency share."""

from __future__ import annotations

from inspector.auditing.limits import Limits
from inspector.auditing.probes.consistency import Consistency
from inspector.auditing.result import Finding, NotChecked, Verdict, Where, at_least
from inspector.auditing.subject import Subject

FEWEST = 8
"""Pictures below which a share of changed answers says nothing."""


def judge_consistency(subject: Subject, limits: Limits, probe: Consistency) -> Verdict:
    """The verdict on the share of pictures whose top class stays."""
    if probe.tried < FEWEST:
        raise NotChecked(f"{probe.tried} pictures are too few to tell; {FEWEST} are needed")
    message = f"{probe.agreement:.1%} of {probe.tried} pictures keep their top class when {probe.words}"
    findings = [Finding(message, probe.agreement, limits["min"])] + [
        Finding(
            f"{c.shown}: {c.before} ({c.probability:.0%}) becomes {c.after} when {probe.words}", c.probability,
            where=Where(image=c.shown),
        )
        for c in sorted(probe.changed, key=lambda c: -c.probability)
    ]  # fmt: skip
    details = {"changed": [c.shown for c in probe.changed]}
    return at_least(probe.agreement, limits["min"], message, findings=findings, details=details)
