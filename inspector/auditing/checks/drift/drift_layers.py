"""How far every layer is from the reference's."""

from __future__ import annotations

from inspector.auditing.graph_queries import is_quantized
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.comparison import Comparison
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict, Where, at_least
from inspector.auditing.subject import Subject
from inspector.errors import listing


@check(
    title="Every layer gives what the reference gives",
    limits={
        "min_db": Limit(30, "smallest signal-to-noise ratio of a layer", unit="dB"),
        "min_db_quantised": Limit(
            7,
            "smallest signal-to-noise ratio of a layer where one of the two computes with integers, or both",
            unit="dB",
        ),
        "missing": Limit(0, "layers that may be in only one of the two", kind="whole", low=0, optional=True),
        "min_pictures": Limit(
            5, "pictures in common below which nothing is compared; fewer where fewer are given", kind="whole", low=1
        ),
    },
    probes=(Comparison,),
    asked_by="reference",
    remedy="Begin with the first layer that is named. After a quantization, keep it in float (`--keep LAYER`).",
)
def drift_layers(subject: Subject, limits: Limits, drift: Comparison) -> Verdict:
    """10 log10(sum a^2 / sum (a - b)^2) over the pictures, a the reference's values and b the model's, by layer."""
    drift.need_layers(limits["min_pictures"])
    found = {name: sums.layer_db for name, sums in drift.sums.items()}
    limit = limits["min_db_quantised" if uses_integers(subject) else "min_db"]
    first_bad = next((name for name, db in found.items() if limit is not None and db < limit), None)
    worst = min(found, key=lambda name: found[name])
    findings = [
        Finding(f"{name} is {db:.1f} dB from the reference, where {limit:g} dB are asked", db, limit, Where(name))
        for name, db in sorted(found.items(), key=lambda item: item[1]) if limit is not None and db < limit
    ]  # fmt: skip
    allowed = limits["missing"]
    missing = drift.missing if allowed is not None and len(drift.missing) > allowed else []
    gone = [
        Finding(f"layer {name} is only in one of the two, or has another shape", where=Where(name)) for name in missing
    ]
    message = f"{len(found)} layers on {drift.sampled} pictures: the worst is {worst}, {found[worst]:.1f} dB"
    message += f"; the first below {limit:g} dB is {first_bad}" if first_bad and first_bad != worst else ""
    message += f"; {len(gone)} layers cannot be compared ({listing(missing)})" if gone else ""
    details = {
        "layers": [
            {"layer": name, "sqnr_db": db, "worst_channel": drift.sums[name].worst_channel()[0],
             "worst_channel_db": drift.sums[name].worst_channel()[1]}
            for name, db in found.items()
        ]
    }  # fmt: skip
    verdict = at_least(found[worst], limit, message, where=Where(worst), findings=findings, unit="dB", details=details)
    if not gone:
        return verdict
    return Verdict(message, found[worst], limit, Where(worst), (*verdict.findings, *gone)[:100], "dB", details)


def uses_integers(subject: Subject) -> bool:
    """Whether model or reference computes with integers: two networks of integers each round in their own way."""
    if subject.reference is not None:
        return is_quantized(subject.graph) or is_quantized(subject.reference.graph)
    return subject.snapshot is not None and (is_quantized(subject.graph) or subject.snapshot.integers)
