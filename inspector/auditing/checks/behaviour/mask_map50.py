"""How many objects are found where they are by their masks, roughly."""

from __future__ import annotations

from inspector.auditing.checks.behaviour._precision import judge_precision
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.outlines import MaskPrecision
from inspector.auditing.registry import check
from inspector.auditing.result import Verdict
from inspector.auditing.subject import Subject


@check(
    title="Objects are found, by their masks",
    limits={"min": Limit(0.4, "smallest mean average precision", low=0, high=1)},
    probes=(MaskPrecision,),
    remedy="Look at masks with `inspector predict --draw`, and see which classes are low.",
)
def mask_map50(subject: Subject, limits: Limits, masks: MaskPrecision) -> Verdict:
    """Mean average precision of masks at IoU 0.5 as in COCO, over the classes that have objects.

    As `map50`, with the overlap of masks in the place of that of boxes. Labels have to hold outlines: polygons of YOLO,
    polygons or run lengths of COCO. An object with a box alone is taken to fill it.
    """
    return judge_precision(subject, limits["min"], masks, loose=True, what="mask mAP")
