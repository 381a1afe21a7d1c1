"""Whether the network looks where it must not."""

from __future__ import annotations

import numpy as np

from inspector.audit.probes.maps import Avoided
from inspector.audit.result import Finding, Verdict, Where, at_most
from inspector.audit.subject import Subject
from inspector.audit.table import Limit, Limits, check


@check(
    "cam-energy-avoided",
    family="explanation",
    title="The network does not look where it must not",
    limits={"max_ratio": Limit(2.0, "largest share of the map in the region, as a multiple of the region's share")},
    probes=(Avoided,),
)
def energy_avoided(subject: Subject, limits: Limits, avoided: Avoided) -> Verdict:
    """Share of the class activation map in the region that regions.avoid names, such as a watermark, divided by the
    share that a map without preference would have there."""
    avoided.need()
    ratios = {shown: energy / avoided.area[shown] for shown, energy in avoided.energy.items() if avoided.area[shown]}
    mean = float(np.mean(list(ratios.values())))
    energy, area = (float(np.mean(list(part.values()))) for part in (avoided.energy, avoided.area))
    worst = max(ratios, key=lambda shown: ratios[shown])
    limit = limits["max_ratio"]
    message = (
        f"{energy:.0%} of the maps lie in the region to avoid, which is {area:.0%} of the picture ({mean:.1f} times), "
        f"over {len(ratios)} pictures"
    )
    findings = [Finding(message, mean, limit)] + [
        Finding(f"{shown}: {avoided.energy[shown]:.0%} of the map lie in the region", ratio, limit, Where(image=shown))
        for shown, ratio in sorted(ratios.items(), key=lambda item: -item[1]) if limit is not None and ratio > limit
    ]  # fmt: skip
    details = {"energy": avoided.energy, "area": avoided.area, "empty": avoided.empty}
    return at_most(mean, limit, message, where=Where(image=worst), findings=findings, details=details)
