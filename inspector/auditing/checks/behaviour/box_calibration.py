"""Whether the scores of boxes mean what they say."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.boxes import BoxPrecision
from inspector.auditing.registry import check
from inspector.auditing.result import NotChecked, Verdict, at_most
from inspector.auditing.subject import Subject
from inspector.metrics import CalibrationSums


@check(
    title="Scores of boxes mean what they say",
    severity="warning",
    limits={
        "max": Limit(0.35, "largest expected calibration error", low=0, high=1),
        "bins": Limit(15, "bins of equal width from 0 to 1", kind="whole", low=1, high=10_000),
        "confidence": Limit(0.25, "score from which boxes are judged", low=0.001, high=1, optional=False),
        "min_boxes": Limit(30, "boxes below which it is not judged", kind="whole", low=1),
    },
    probes=(BoxPrecision,),
    remedy="Choose the score from which boxes are used by what is right on your pictures, not by what it promises.",
)
def box_calibration(subject: Subject, limits: Limits, boxes: BoxPrecision) -> Verdict:
    """Expected calibration error (Kueppers 2020): of boxes with a score of 0.8, 80 % should be an object at IoU 0.5."""
    boxes.need_objects()
    scores, right = boxes.precision.judged(float(limits["confidence"]))
    fewest = int(limits["min_boxes"])
    if len(scores) < fewest:
        raise NotChecked(f"{len(scores)} boxes are too few; the policy asks for {fewest}")
    sums = CalibrationSums(int(limits["bins"]))
    sums.add(scores.clip(0, 1), right)
    word = "too sure" if sums.gap > 0 else "not sure enough"
    message = f"scores of {len(scores)} boxes are off by {sums.error:.3f} on average ({word})"
    return at_most(sums.error, limits["max"], message, details={"bins": sums.rows("boxes")})
