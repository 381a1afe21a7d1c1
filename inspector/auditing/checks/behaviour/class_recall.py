"""Whether a class is hardly ever recognised."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.predictions import LabelledPredictions
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict, at_least
from inspector.auditing.subject import Subject


@check(
    title="No class is left out",
    limits={"min": Limit(0.3, "smallest share of a class's pictures that must be recognised", low=0, high=1)},
    probes=(LabelledPredictions,),
    remedy="Look at the class's pictures: wrong labels, too few of them, or two names exchanged are the usual causes.",
)
def class_recall(subject: Subject, limits: Limits, predictions: LabelledPredictions) -> Verdict:
    """Share of each class's pictures that is recognised; swapped labels show as two classes at zero."""
    recalls = predictions.recalls()
    label = subject.model.label
    worst = min(recalls, key=lambda k: recalls[k])
    limit = limits["min"]
    findings = [
        Finding(f"of the class {label(k)} only {share:.1%} are recognised", share, limit, key=label(k))
        for k, share in sorted(recalls.items(), key=lambda item: item[1]) if limit is not None and share < limit
    ]  # fmt: skip
    message = f"least recognised of {len(recalls)} classes is {label(worst)}, {recalls[worst]:.1%}"
    details = {"recall": {label(k): share for k, share in recalls.items()}}
    return at_least(recalls[worst], limit, message, findings=findings, details=details)
