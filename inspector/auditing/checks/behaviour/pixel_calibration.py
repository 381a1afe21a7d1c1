"""Whether the confidence of pixels means what it says."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.masks import PixelScores
from inspector.auditing.registry import check
from inspector.auditing.result import NotChecked, Verdict, at_most
from inspector.auditing.subject import Subject


@check(
    title="The confidence of pixels means what it says",
    severity="warning",
    limits={
        "max": Limit(0.35, "largest expected calibration error", low=0, high=1),
        "bins": Limit(15, "bins of equal width from 0 to 1", kind="whole", low=1, high=10_000),
    },
    probes=(PixelScores,),
    remedy="Divide the scores by a temperature measured on pictures kept aside, or do not show the probabilities.",
)
def pixel_calibration(subject: Subject, limits: Limits, pixels: PixelScores) -> Verdict:
    """Expected calibration error (Guo 2017) over all pixels: of pixels called 80 % sure, 80 % should be right."""
    pixels.need_pixels()
    if not pixels.confident:
        raise NotChecked("the graph gives classes of pixels and no confidence", applies=False)
    sums = pixels.calibration
    word = "too sure" if sums.gap > 0 else "not sure enough"
    message = f"the confidence of pixels is off by {sums.error:.3f} on average ({word})"
    return at_most(sums.error, limits["max"], message, details={"bins": sums.rows("pixels")})
