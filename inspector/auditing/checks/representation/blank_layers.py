"""Whether a whole layer falls silent."""

from __future__ import annotations

from inspector.auditing.limits import Limits
from inspector.auditing.probes.ranges import Ranges
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict
from inspector.auditing.subject import Subject


@check(
    title="No layer is blank",
    probes=(Ranges,),
    remedy="Look at weights and norm before the layer that is named; pixels scaled wrongly by 255 do this too.",
)
def blank_layers(subject: Subject, limits: Limits, ranges: Ranges) -> Verdict:
    """No layer is constant in all of its channels on any picture: nothing of the picture would pass through it."""
    findings = tuple(Finding(f"layer {w.layer} is blank on {w.image}", where=w) for w in ranges.blank)
    if findings:
        first = ranges.blank[0]
        message = f"{ranges.blank_count} times a whole layer is constant, first {first.layer} on {first.image}"
        return Verdict(message, ranges.blank_count, 0, first, findings)
    return Verdict(f"no layer is blank on any of {ranges.pictures} pictures{ranges.blank_source}", 0, 0)
