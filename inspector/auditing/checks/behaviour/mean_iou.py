"""How much of each class is found, pixel by pixel."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.masks import PixelScores
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict, Where, at_least
from inspector.auditing.subject import Subject


@check(
    title="Most pixels get their class",
    limits={"min": Limit(0.4, "smallest mean IoU", low=0, high=1)},
    probes=(PixelScores,),
    remedy="See which classes are low, and whether the masks count their classes as the model does.",
)
def mean_iou(subject: Subject, limits: Limits, pixels: PixelScores) -> Verdict:
    """Mean over the classes in the masks of intersection over union, over all pictures together.

    Pixels of class 255 are left out, and those that the network does not see.
    """
    counts = pixels.need_pixels()
    label = subject.model.label
    classes = counts.overlaps()
    value, limit = counts.mean_overlap, limits["min"]
    worst = sorted(classes.items(), key=lambda item: item[1])
    message = f"mean IoU is {value:.3f} over {len(classes)} classes on {len(pixels.by_picture)} pictures"
    message += f", lowest of {label(worst[0][0])} ({worst[0][1]:.3f})" if len(worst) > 1 else ""
    findings = [Finding(f"{message}, where {limit or 0:g} is asked", value, limit)]
    findings += [
        Finding(f"the IoU of {label(k)} is {share:.3f}", share, limit, key=label(k))
        for k, share in worst if limit is not None and share < limit
    ]  # fmt: skip
    findings += [
        Finding(f"{shown}: mean IoU {share:.3f}", share, limit, Where(image=shown))
        for shown, share in sorted(pixels.by_picture.items(), key=lambda item: item[1])
        if limit is not None and share < limit
    ]
    details = {
        "by_class": {label(k): share for k, share in classes.items()}, "pixel_accuracy": counts.agreement,
        "by_picture": pixels.by_picture,
    }  # fmt: skip
    return at_least(value, limit, message, findings=findings, details=details)
