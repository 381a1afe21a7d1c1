"""How many objects are found where they are, exactly."""

from __future__ import annotations

from inspector.auditing.checks.behaviour._precision import judge_precision
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.boxes import BoxPrecision
from inspector.auditing.registry import check
from inspector.auditing.result import Verdict
from inspector.auditing.subject import Subject


@check(
    title="Boxes lie where the objects are",
    limits={"min": Limit(0.2, "smallest mean average precision", low=0, high=1)},
    probes=(BoxPrecision,),
    remedy="See which classes are low, and whether preprocess, head and labels in the file are those of the training.",
)
def map50_95(subject: Subject, limits: Limits, boxes: BoxPrecision) -> Verdict:
    """Mean average precision over the IoUs 0.50 to 0.95 as in COCO.

    Where `map50` is far above it, objects are found and their boxes lie badly.
    """
    return judge_precision(subject, limits["min"], boxes, loose=False)
