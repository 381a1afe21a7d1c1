"""Whether bounded activations stand at their bound."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.zeros import Saturation
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict, Where, at_most
from inspector.auditing.subject import Subject


@check(
    title="No activation layer is saturated",
    limits={"max": Limit(0.3, "largest share of a layer within 1 % of its upper bound", low=0, high=1)},
    probes=(Saturation,),
    remedy="Check the preprocess; train with weight decay, a norm before the activation, or a smaller learning rate.",
)
def saturated(subject: Subject, limits: Limits, saturation: Saturation) -> Verdict:
    """The share of values at the upper bound of ReLU6, sigmoid or tanh: what stands there tells nothing apart."""
    found = saturation.fractions()
    layer = max(found, key=lambda name: found[name])
    limit = limits["max"]
    findings = [
        Finding(f"{share:.1%} of {name} stand at the upper bound", share, limit, Where(name))
        for name, share in found.items() if limit is not None and share > limit
    ]  # fmt: skip
    message = f"at most {found[layer]:.1%} of a layer stand at the upper bound, in {layer}"
    return at_most(found[layer], limit, message, where=Where(layer), findings=findings, details={"saturated": found})
