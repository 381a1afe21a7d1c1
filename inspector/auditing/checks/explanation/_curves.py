"""What the checks of deletion and insertion share."""

from __future__ import annotations

import numpy as np

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.maps import Deletion, Insertion
from inspector.auditing.result import Finding, Verdict, Where, at_least

LIMITS = {
    "min": Limit(0.0, "smallest mean advantage over random maps", unit="area under the curve", low=-1, high=1),
    "steps": Limit(8, "steps of the curve", kind="whole", low=1, high=10_000),
    "random": Limit(
        1,
        "random maps of the same grain per picture, each taken forwards and backwards",
        kind="whole",
        low=1,
        high=1000,
    ),
}


def judge_faithfulness(limits: Limits, curves: Deletion | Insertion, sign: int) -> Verdict:
    """The verdict on the mean advantage of the maps over random ones.

    Args:
        curves: Of maps and of random ones.
        limits: The settings of the check.
        sign: 1 when a large area is good, else -1.
    """
    curves.need()
    gains = {shown: sign * (area - random) for shown, (area, random) in curves.areas.items()}
    mean = float(np.mean(list(gains.values())))
    area, random = (float(np.mean([pair[i] for pair in curves.areas.values()])) for i in (0, 1))
    limit = limits["min"]
    worst = min(gains, key=lambda shown: gains[shown])
    message = f"{curves.which}: area {area:.3f}, of random maps {random:.3f}, over {len(gains)} pictures"
    findings = [Finding(f"{message}: the maps are no better than chance", mean, limit)] + [
        Finding(f"{shown}: the map does worse than chance by {-gain:.3f}", gain, limit, Where(image=shown))
        for shown, gain in sorted(gains.items(), key=lambda item: item[1]) if gain < 0
    ]  # fmt: skip
    details = {"areas": {shown: {"map": a, "random": r} for shown, (a, r) in curves.areas.items()}}
    return at_least(mean, limit, message, where=Where(image=worst), findings=findings, details=details)
