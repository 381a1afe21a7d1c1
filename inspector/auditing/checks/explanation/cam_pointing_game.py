"""Whether the network's first look is at the object."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.maps import Inside
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict, Where, at_least
from inspector.auditing.subject import Subject


@check(
    title="The map's peak is on the object",
    severity="warning",
    limits={
        "min": Limit(0.5, "smallest share of the pictures whose map has its peak inside the object", low=0, high=1)
    },
    probes=(Inside,),
    asked_by="object",
    remedy="Look at the maps of the pictures that are listed: the network may use the background.",
)
def cam_pointing_game(subject: Subject, limits: Limits, inside: Inside) -> Verdict:
    """Share of the pictures whose map is highest inside the object (Zhang 2016, arXiv:1608.00507)."""
    inside.need()
    share = sum(inside.hits.values()) / len(inside.hits)
    limit = limits["min"]
    message = f"{share:.0%} of {len(inside.hits)} maps have their peak on the object"
    findings = [Finding(message, share, limit)] + [
        Finding(f"{shown}: the peak lies outside", where=Where(image=shown))
        for shown, hit in inside.hits.items()
        if not hit
    ]
    return at_least(share, limit, message, findings=findings, details={"empty": inside.empty})
