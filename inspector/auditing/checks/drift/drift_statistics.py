"""Whether the layers' values lie where the snapshot's lay, also on other pictures."""

from __future__ import annotations

import numpy as np

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.comparison import Comparison
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, NotChecked, Verdict, Where, at_most
from inspector.auditing.subject import Subject


@check(
    title="The layers' values lie where the snapshot's lay",
    severity="warning",
    limits={
        "max": Limit(0.5, "largest median shift of a layer's channel means", unit="deviations of the snapshot", low=0)
    },
    probes=(Comparison,),
    needs=("snapshot",),
    remedy="See whether the pictures changed (camera, light, crop) or the model; compare on the snapshot's pictures.",
)
def drift_statistics(subject: Subject, limits: Limits, drift: Comparison) -> Verdict:
    """Median over a layer's channels of |mean - mean of the snapshot| / deviation of the snapshot.

    It needs no picture in common, so that a shift of the pictures themselves shows here too.
    """
    snapshot = drift.snapshot
    assert snapshot is not None
    shifts = {}
    for name, moments in drift.moments.items():
        before = snapshot.layers[name]
        scale = np.maximum(before.std, 1e-6 + 1e-3 * float(before.std.mean()))
        shifts[name] = float(np.median(np.abs(moments.mean - before.mean) / scale))
    if not shifts:
        raise NotChecked("model and snapshot have no layer in common")
    worst = max(shifts, key=lambda name: np.nan_to_num(shifts[name], nan=np.inf))
    limit = limits["max"]
    findings = [
        Finding(f"the channels of {name} are shifted by {shift:.2f} deviations", shift, limit, Where(name))
        for name, shift in shifts.items() if limit is not None and not shift <= limit
    ]  # fmt: skip
    message = (
        f"the channel means of {len(shifts)} layers are shifted by at most {shifts[worst]:.2f} deviations, in {worst}"
    )
    return at_most(shifts[worst], limit, message, where=Where(worst), findings=findings)
