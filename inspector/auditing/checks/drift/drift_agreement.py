"""Whether model and reference give the same answers."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.comparison import Comparison
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict, Where, at_least
from inspector.auditing.subject import Subject


@check(
    title="The answers are the reference's",
    limits={
        "min": Limit(0.95, "smallest share of the pictures with the reference's top class", low=0, high=1),
        "min_pictures": Limit(
            5, "pictures in common below which nothing is compared; fewer where fewer are given", kind="whole", low=1
        ),
    },
    probes=(Comparison,),
    needs=("classification",),
    asked_by="reference",
    remedy="Look at the pictures that are listed; where the new answers are right, save a new snapshot.",
)
def drift_agreement(subject: Subject, limits: Limits, drift: Comparison) -> Verdict:
    """Share of the pictures on which both give the same top class, compared by name; the others are listed."""
    drift.need_answers(limits["min_pictures"])
    flipped = sorted(drift.flipped, key=lambda f: -f.probability)
    limit = limits["min"]
    message = f"{drift.agreement:.1%} of {drift.compared} pictures get the reference's answer"
    findings = [Finding(message, drift.agreement, limit)] + [
        Finding(f"{f.shown}: {f.before} ({f.probability:.0%}) became {f.after}", where=Where(image=f.shown))
        for f in flipped
    ]
    details = {
        "flipped": [
            {"image": f.shown, "before": f.before, "after": f.after, "probability": f.probability} for f in flipped
        ]
    }
    return at_least(drift.agreement, limit, message, findings=findings, details=details)
