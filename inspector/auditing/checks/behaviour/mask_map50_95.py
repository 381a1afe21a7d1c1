"""How many objects are found where they are by their masks, exactly."""

from __future__ import annotations

from inspector.auditing.checks.behaviour._precision import judge_precision
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.outlines import MaskPrecision
from inspector.auditing.registry import check
from inspector.auditing.result import Verdict
from inspector.auditing.subject import Subject


@check(
    title="Masks lie where the objects are",
    limits={"min": Limit(0.2, "smallest mean average precision", low=0, high=1)},
    probes=(MaskPrecision,),
    remedy="Look at masks with `inspector predict --draw`, and see which classes are low.",
)
def mask_map50_95(subject: Subject, limits: Limits, masks: MaskPrecision) -> Verdict:
    """Mean average precision of masks over the IoUs 0.50 to 0.95 as in COCO.

    Where `mask-map50` is far above it, objects are found and their masks lie badly; where `map50-95` is, boxes are
    right and the masks in them are not.
    """
    return judge_precision(subject, limits["min"], masks, loose=False, what="mask mAP")
