"""How many objects are found where they are, roughly."""

from __future__ import annotations

from inspector.auditing.checks.behaviour._precision import judge_precision
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.boxes import BoxPrecision
from inspector.auditing.registry import check
from inspector.auditing.result import Verdict
from inspector.auditing.subject import Subject


@check(
    title="Objects are found",
    limits={"min": Limit(0.4, "smallest mean average precision", low=0, high=1)},
    probes=(BoxPrecision,),
    remedy="See which classes are low, and whether preprocess, head and labels in the file are those of the training.",
)
def map50(subject: Subject, limits: Limits, boxes: BoxPrecision) -> Verdict:
    """Mean average precision at IoU 0.5 as in COCO, over the classes that have objects.

    Precision is read at 101 recalls, of at most 100 boxes of a class on a picture. Crowds and difficult objects are
    neither right nor wrong.
    """
    return judge_precision(subject, limits["min"], boxes, loose=True)
