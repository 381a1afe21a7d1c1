"""Whether a detector looks at the objects that it finds."""

from __future__ import annotations

import numpy as np

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.box_maps import BoxMaps
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict, Where, at_least
from inspector.auditing.subject import Subject


@check(
    title="The detector looks at what it finds",
    severity="warning",
    limits={
        "min": Limit(0.3, "smallest mean share of a box's map inside the box", low=0, high=1),
        "boxes": Limit(5, "boxes of each picture that are explained, the best first", kind="whole", low=1, high=300),
    },
    probes=(BoxMaps,),
    remedy="Look at the maps of the pictures that are listed: the network may find objects by what stands beside them.",
)
def box_energy_inside(subject: Subject, limits: Limits, maps: BoxMaps) -> Verdict:
    """Share of the LayerCAM map of each box that lies inside it (Score-CAM 2020, section 4.3, for boxes).

    A box that fills the picture holds its map whatever the network looks at: the share of the picture that the boxes
    take is told beside it.
    """
    maps.need_maps()
    mean, area = (float(np.mean([getattr(one, name) for one in maps.maps])) for name in ("energy", "area"))
    limit = limits["min"]
    worst = sorted(maps.maps, key=lambda one: one.energy)
    message = (
        f"{mean:.0%} of the maps of {len(maps.maps)} boxes lie inside them, which take {area:.1%} of the picture; "
        f"{maps.tried} pictures"
    )
    findings = [Finding(message, mean, limit)] + [
        Finding(
            f"{one.shown}: {one.energy:.0%} of the map of {one.label} ({one.score:.0%}) lie inside its box", one.energy,
            limit, Where(image=one.shown),
        )
        for one in worst if limit is not None and one.energy < limit
    ]  # fmt: skip
    details = {
        "boxes": [
            {"image": one.shown, "class": one.label, "score": one.score, "energy": one.energy, "area": one.area}
            for one in maps.maps
        ],
        "empty": maps.empty,
    }
    return at_least(mean, limit, message, where=Where(image=worst[0].shown), findings=findings, details=details)
