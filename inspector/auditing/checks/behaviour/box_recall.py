"""Whether objects of a class are hardly ever found."""

from __future__ import annotations

from inspector.auditing.checks.behaviour._recall import judge_recalls
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.boxes import BoxPrecision
from inspector.auditing.registry import check
from inspector.auditing.result import Verdict
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
    objects = {subject.model.label(k): count for k, count in boxes.precision.objects.items()}
    return judge_recalls(subject, recalls, limits["min"], "the objects of", "found", objects=objects)
