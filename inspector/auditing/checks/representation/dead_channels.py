"""Whether channels say nothing on any picture."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.ranges import Ranges
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict, Where
from inspector.auditing.subject import Subject


@check(
    title="No layer has many dead channels",
    limits={
        "max": Limit(0.2, "largest share of a layer's channels that may be constant on every picture", low=0, high=1),
        "max_silent": Limit(
            0.7, "largest share behind an activation, where a channel may wait for what no picture shows", low=0, high=1
        ),
        "min_pictures": Limit(8, "pictures below which a channel cannot be called dead", kind="whole", low=1),
    },
    probes=(Ranges,),
    remedy="Remove the channels, or train again with a lower learning rate; see whether the pictures are varied.",
)
def dead_channels(subject: Subject, limits: Limits, ranges: Ranges) -> Verdict:
    """A dead channel's map is constant on every picture of the set: it costs time and says nothing.

    Behind an activation that is also how a healthy channel looks whose object is on none of the pictures.
    """
    subject.need_pictures(limits["min_pictures"])
    kinds = {layer.name: layer.kind for layer in subject.model.layers}
    shares: dict[str, float] = {}
    findings: list[Finding] = []
    worst, excess, where, bound, total = 0.0, -float("inf"), Where(), limits["max"], 0
    for name in ranges.awake:
        dead = ranges.dead(name)
        share = shares[name] = float(dead.mean())
        total += int(dead.sum())
        limit = limits["max_silent" if kinds[name] in ("activation", "pool", "gate", "concat") else "max"]
        here = Where(name, int(dead.argmax()) if dead.any() else None)
        # The worst is the one nearest to its own limit, or furthest beyond.
        if share - (limit if limit is not None else 1) > excess:
            worst, excess, where, bound = share, share - (limit if limit is not None else 1), here, limit
        if limit is not None and share > limit:
            message = f"{int(dead.sum())} of {len(dead)} channels of {name} are dead"
            findings.append(Finding(message, share, limit, here))
    findings.sort(key=lambda finding: -(finding.value or 0))
    channels = sum(len(awake) for awake in ranges.awake.values())
    message = f"{total:,} of {channels:,} channels are constant on all {ranges.pictures} pictures"
    message += f"; nearest to its limit is {where.layer}, {worst:.0%}" if total else ""
    message += ranges.source
    details = {"dead_share": {name: share for name, share in shares.items() if share}}
    judged = limits["max"] is not None or limits["max_silent"] is not None
    return Verdict(message, worst, bound, where, tuple(findings[:100]), details=details, judged=judged)
