"""Whether activation layers are almost all zeros."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.zeros import Zeros
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict, Where, at_most
from inspector.auditing.subject import Subject


@check(
    title="No activation layer is almost all zeros",
    limits={"max": Limit(0.97, "largest share of zeros in an activation layer", low=0, high=1)},
    probes=(Zeros,),
    remedy="Lower the learning rate or the biases, or use an activation that is not zero for negative values.",
)
def zero_fraction(subject: Subject, limits: Limits, zeros: Zeros) -> Verdict:
    """The share of exact zeros behind each activation, by depth: it grows with depth, but some must be left."""
    found = zeros.fractions()
    layer = max(found, key=lambda name: found[name])
    limit = limits["max"]
    findings = [
        Finding(f"{share:.1%} of {name} are zeros", share, limit, Where(name))
        for name, share in found.items() if limit is not None and share > limit
    ]  # fmt: skip
    mean = sum(found.values()) / len(found)
    most = f"most in {layer} ({found[layer]:.1%}){zeros.source}"
    message = f"{mean:.0%} zeros on average over {len(found)} activation layers, {most}"
    return at_most(
        found[layer], limit, message, where=Where(layer), findings=findings, details={"zero_fraction": found}
    )
