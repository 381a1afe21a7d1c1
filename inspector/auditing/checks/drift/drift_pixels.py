"""Whether model and reference give pixels the same class."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.masks import PixelDrift
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict, Where, at_least
from inspector.auditing.subject import Subject


@check(
    title="The pixels' classes are the reference's",
    limits={
        "min": Limit(0.9, "smallest share of the pixels with the reference's class", low=0, high=1),
        "min_pictures": Limit(
            5, "pictures in common below which nothing is compared; fewer where fewer are given", kind="whole", low=1
        ),
    },
    probes=(PixelDrift,),
    asked_by="reference",
    remedy="Look at the pictures that are listed; where the new classes are right, save a new snapshot.",
)
def drift_pixels(subject: Subject, limits: Limits, drift: PixelDrift) -> Verdict:
    """Mean over the pictures of the share of pixels with the reference's class.

    A snapshot keeps the classes at 64 x 64 places of each picture.
    """
    drift.need_pixels(int(limits["min_pictures"]))
    share, limit = sum(drift.same.values()) / len(drift.same), limits["min"]
    message = f"{share:.1%} of the pixels on {len(drift.same)} pictures have the reference's class"
    findings = [Finding(message, share, limit)] + [
        Finding(f"{shown}: {own:.0%} of the pixels have the reference's class", own, limit, Where(image=shown))
        for shown, own in sorted(drift.same.items(), key=lambda item: item[1])
        if limit is not None and own < limit
    ]
    return at_least(share, limit, message, findings=findings, details={"shares": drift.same})
