"""Whether the network looks where it must not."""

from __future__ import annotations

import numpy as np

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.maps import Avoided
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict, Where, at_most
from inspector.auditing.subject import Subject


@check(
    title="The network does not look where it must not",
    limits={
        "max_ratio": Limit(
            2.0, "largest mean share of a class's maps in the region, as a multiple of the region's share", low=0
        ),
        "min_pictures": Limit(
            3, "pictures of a class below which it is judged together with the other rare ones", kind="whole", low=1
        ),
    },
    probes=(Avoided,),
    asked_by="avoid",
    remedy="Look at the maps of the listed pictures; train with the mark removed, covered, or put on all classes.",
)
def cam_energy_avoided(subject: Subject, limits: Limits, avoided: Avoided) -> Verdict:
    """Share of the class activation map in the region that regions.avoid names, such as a watermark.

    It is divided by the share that a map without preference would have there. The value is the mean over the pictures
    of the class where it is largest. A class is the folder's, else the most likely one.
    """
    avoided.need()
    ratios = {shown: energy / avoided.area[shown] for shown, energy in avoided.energy.items() if avoided.area[shown]}
    members: dict[int, list[str]] = {}
    for shown in ratios:
        members.setdefault(avoided.classes[shown], []).append(shown)
    fewest = limits["min_pictures"]
    rare = [shown for of in members.values() if len(of) < fewest for shown in of]
    groups: dict[int | None, list[str]] = {k: of for k, of in members.items() if len(of) >= fewest}
    together = "the rare classes together" if groups else "all classes together"
    if rare:
        groups[None] = rare
    names = {k: together if k is None else subject.model.label(k) for k in groups}
    means = {k: float(np.mean([ratios[shown] for shown in of])) for k, of in groups.items()}
    worst = max(means, key=lambda k: means[k])
    mean, of = means[worst], groups[worst]
    energy, area = (float(np.mean([part[shown] for shown in of])) for part in (avoided.energy, avoided.area))
    limit = limits["max_ratio"]
    message = (
        f"{energy:.0%} of the maps lie in the region to avoid, which is {area:.0%} of the picture ({mean:.1f} times), "
        f"over {len(of)} pictures"
        + (f" of {names[worst]}, the worst of {len(groups)} groups" if len(groups) > 1 else "")
    )
    findings = [
        Finding(
            f"{names[k]}: {found:.1f} times the region's share, over {len(groups[k])} pictures", found, limit,
            key=names[k],
        )
        for k, found in sorted(means.items(), key=lambda item: -item[1]) if limit is not None and found > limit
    ] + [
        Finding(f"{shown}: {avoided.energy[shown]:.0%} of the map lie in the region", ratio, limit, Where(image=shown))
        for shown, ratio in sorted(ratios.items(), key=lambda item: -item[1]) if limit is not None and ratio > limit
    ]  # fmt: skip
    details = {
        "energy": avoided.energy,
        "area": avoided.area,
        "empty": avoided.empty,
        "ratios": {names[k]: found for k, found in means.items()},
    }
    where = Where(image=max(of, key=lambda shown: ratios[shown]))
    return at_most(mean, limit, message, where=where, findings=findings, details=details)
