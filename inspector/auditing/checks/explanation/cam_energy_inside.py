"""Whether the network looks at the object."""

from __future__ import annotations

import numpy as np

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.maps import Inside
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict, Where, at_least
from inspector.auditing.subject import Subject


@check(
    title="The network looks at the object",
    limits={"min": Limit(0.3, "smallest mean share of the map inside the object", low=0, high=1)},
    probes=(Inside,),
    asked_by="object",
    remedy="Look at the maps of the pictures that are listed: the network may use the background.",
)
def cam_energy_inside(subject: Subject, limits: Limits, inside: Inside) -> Verdict:
    """Share of the class activation map that lies in the mask, the boxes or the box (Score-CAM 2020, section 4.3)."""
    inside.need()
    mean = float(np.mean(list(inside.energy.values())))
    worst = min(inside.energy, key=lambda shown: inside.energy[shown])
    limit = limits["min"]
    message = f"{mean:.0%} of the maps lie inside the object, over {len(inside.energy)} pictures"
    findings = [Finding(message, mean, limit)] + [
        Finding(f"{shown}: {share:.0%} of the map lie inside the object", share, limit, Where(image=shown))
        for shown, share in sorted(inside.energy.items(), key=lambda item: item[1])
        if limit is not None and share < limit
    ]
    details = {"energy": inside.energy, "empty": inside.empty}
    return at_least(mean, limit, message, where=Where(image=worst), findings=findings, details=details)
