"""How far the worst channel of every layer is from the reference's."""

from __future__ import annotations

import numpy as np

from inspector.auditing.checks.drift.drift_layers import uses_integers
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.comparison import Comparison
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict, Where, at_least
from inspector.auditing.subject import Subject


@check(
    title="Every channel gives what the reference gives",
    severity="warning",
    limits={
        "min_db": Limit(
            20, "smallest signal-to-noise ratio of a channel with at least 1 % of its layer's mean power", unit="dB"
        ),
        "min_db_quantised": Limit(
            -3,
            "smallest signal-to-noise ratio of a channel where one of the two computes with integers, or both",
            unit="dB",
        ),
        "min_pictures": Limit(
            5, "pictures in common below which nothing is compared; fewer where fewer are given", kind="whole", low=1
        ),
    },
    probes=(Comparison,),
    remedy="After a quantization, give the layer a scale for each channel, or keep it in float (`--keep LAYER`).",
)
def drift_channels(subject: Subject, limits: Limits, drift: Comparison) -> Verdict:
    """The same ratio for every channel by itself: a layer may be near as a whole while one of its channels is lost."""
    drift.need_layers(limits["min_pictures"])
    found = {name: sums.worst_channel() for name, sums in drift.sums.items()}
    limit = limits["min_db_quantised" if uses_integers(subject) else "min_db"]
    layer = min(found, key=lambda name: found[name][1])
    channel, worst = found[layer]
    findings = [
        Finding(f"channel {c} of {name} is {db:.1f} dB from the reference", db, limit, Where(name, c))
        for name, (c, db) in sorted(found.items(), key=lambda item: item[1][1]) if limit is not None and db < limit
    ]  # fmt: skip
    message = f"the worst channel is {channel} of {layer}, {worst:.1f} dB"
    return at_least(
        worst, limit, message, where=Where(layer, channel), findings=findings, unit="dB",
        details={"channels": {name: np.round(sums.channels_db(), 1).tolist() for name, sums in drift.sums.items()}},
    )  # fmt: skip
