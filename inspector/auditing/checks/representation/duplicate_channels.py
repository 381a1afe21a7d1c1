"""Whether channels repeat one another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.samples import Samples
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, NotChecked, Verdict, Where, at_most
from inspector.auditing.subject import Subject

_FEWEST = 32
"""Joint samples below which a correlation says nothing."""

_VARIED = 16
"""Samples that must lie between the channel's extremes: two channels that are zero but once are no copies."""


@check(
    title="No layer has many channels that repeat others",
    severity="warning",
    limits={
        "max": Limit(0.1, "largest share of a layer's channels that may repeat an earlier one", low=0, high=1),
        "correlation": Limit(
            0.999, "absolute correlation from which two channels count as the same", low=0, high=1, optional=False
        ),
    },
    probes=(Samples,),
    remedy="Remove the channels that repeat others, or use a narrower layer.",
)
def duplicate_channels(subject: Subject, limits: Limits, samples: Samples) -> Verdict:
    """Channels whose values go up and down together over the pictures; a share of them could be removed."""
    limit, bound = limits["max"], limits["correlation"] or 0.999
    worst, where, total, layers = 0.0, Where(), 0, 0
    findings = []
    for name in samples.kept:
        rows = samples.rows(name)
        if len(rows) < _FEWEST:
            continue
        layers += 1
        repeats = find_repeats(rows, bound)
        share = float(repeats.mean())
        total += int(repeats.sum())
        here = Where(name, int(repeats.argmax()) if repeats.any() else None)
        if share > worst:
            worst, where = share, here
        if limit is not None and share > limit:
            message = f"{int(repeats.sum())} of {len(repeats)} channels of {name} repeat others"
            findings.append(Finding(message, share, limit, here))
    if not layers:
        raise NotChecked(f"fewer than {_FEWEST} samples of every layer; give more pictures")
    message = f"{total} channels in {layers} layers repeat others" + (
        f", most of all in {where.layer} ({worst:.1%})" if where.layer else ""
    )
    return at_most(worst, limit, message, where=where, findings=findings)


def find_repeats(rows: NDArray[np.float32], bound: float) -> NDArray[np.bool_]:
    """Which channels (C,) correlate with an earlier one by at least `bound` in absolute value.

    Args:
        rows: float (n, C).
        bound: Of the correlation, in [0, 1].
    """
    varied = ((rows != rows.min(axis=0)) & (rows != rows.max(axis=0))).sum(axis=0) >= _VARIED
    with np.errstate(all="ignore"):
        centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
        length = np.sqrt(np.square(centred).sum(axis=0))
        unit = np.where(length > 0, centred / length, 0)
    chosen = np.flatnonzero(varied & np.isfinite(length) & (length > 0))
    table = np.abs(unit[:, chosen].T @ unit[:, chosen])
    found = np.zeros(rows.shape[1], np.bool_)
    found[chosen] = (np.tril(table, -1) >= bound).any(axis=1)
    return found
