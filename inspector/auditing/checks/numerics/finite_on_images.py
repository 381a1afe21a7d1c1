"""Whether every layer gives numbers on the pictures."""

from __future__ import annotations

from inspector.auditing.limits import Limits
from inspector.auditing.probes.ranges import Ranges
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict, Where
from inspector.auditing.subject import Subject


@check(
    title="No NaN or infinity on the pictures",
    probes=(Ranges,),
    remedy="Look at the layer that is named, with the picture that is named; half precision overflows beyond 65,504.",
)
def finite_on_images(subject: Subject, limits: Limits, ranges: Ranges) -> Verdict:
    """Neither a layer nor the scores have a value that is NaN or infinite on any picture."""
    findings = tuple(
        Finding(f"{_name(w)}, channel {w.channel}, is not finite on {w.image}", where=w)
        if w.image is not None
        else Finding(f"{_name(w)} is not finite on pictures of the scan", where=w)
        for w in ranges.bad
    )
    if findings:
        first = ranges.bad[0]
        image = first.image or "pictures of the scan"
        message = f"NaN or infinity in {ranges.bad_count} places, first in {_name(first)} on {image}"
        return Verdict(message, ranges.bad_count, 0, first, findings)
    return Verdict(f"all {len(ranges.awake)} layers are finite on {ranges.pictures} pictures{ranges.source}", 0, 0)


def _name(where: Where) -> str:
    return "the scores" if where.layer == "scores" else f"layer {where.layer}"
