"""Whether objects of a class are hardly ever found."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.boxes import BoxPrecision
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict, at_least
from inspector.auditing.subject import Subject


@check(
    title="No class of objects is left out",
    limits={
        "min": Limit(0.2, "smallest share of a class's objects that must be found", low=0, high=1),
        "confidence": Limit(0.25, "score from which a box counts as found", low=0.001, high=1, optional=False),
    },
    probes=(BoxPrecision,),
    remedy="Look at the class's objects: wrong labels, too few of them, or two names exchanged are the usual causes.",
)
def box_recall(subject: Subject, limits: Limits, boxes: BoxPrecision) -> Verdict:
    """Share of each class's objects that are found at IoU 0.5, at the score that an application would use."""
    boxes.need_objects()
    recalls = boxes.precision.recalls(float(limits["confidence"]))
    label = subject.model.label
    worst = min(recalls, key=lambda k: recalls[k])
    limit = limits["min"]
    findings = [
        Finding(f"of the objects of {label(k)} only {share:.1%} are found", share, limit, key=label(k))
        for k, share in sorted(recalls.items(), key=lambda item: item[1]) if limit is not None and share < limit
    ]  # fmt: skip
    message = f"least found of {len(recalls)} classes is {label(worst)}, {recalls[worst]:.1%}"
    details = {
        "recall": {label(k): share for k, share in recalls.items()},
        "objects": {label(k): count for k, count in boxes.precision.objects.items()},
    }
    return at_least(recalls[worst], limit, message, findings=findings, details=details)
