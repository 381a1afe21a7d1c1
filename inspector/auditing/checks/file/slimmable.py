"""Whether the file carries channels that provably do nothing."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import MAX_FINDINGS, Finding, NotChecked, Verdict, Where, at_most
from inspector.auditing.subject import Subject


@check(
    title="No channels can be cut without a change of the answers",
    severity="warning",
    limits={"max": Limit(0.02, "largest share of the file that `inspector slim` may save", low=0, high=1)},
    remedy="Cut them with `inspector slim`; it writes a certificate of what was cut and why.",
)
def slimmable(subject: Subject, limits: Limits) -> Verdict:
    """Channels that are constant, that nothing reads, or that others repeat cost space and time for nothing.

    What `inspector slim` would cut is found by the same proof, and nothing is written. Weights in other files count.
    What only `--smallest` cuts is left out.
    """
    from inspector.slimming import find_model_plan

    plan = find_model_plan(subject.model)
    if not plan.found.readers:
        raise NotChecked("the model has no convolution or linear layer with constant weights", applies=False)
    names = {layer.tensor: layer.name for layer in subject.model.layers}
    share = min(plan.saved_bytes / max(subject.graph.size, 1), 1.0)
    findings = tuple(
        Finding(
            f"{len(each.channels)} channels of {names.get(each.tensor, each.tensor)} can go: {each.why}",
            where=Where(names.get(each.tensor), each.channels[0]), key=each.tensor + each.why,
        )
        for each in sorted(plan.cut, key=lambda each: -len(each.channels))[:MAX_FINDINGS]
    )  # fmt: skip
    message = f"{plan.total} channels can be cut with `inspector slim`, {plan.saved_bytes / 1e3:.1f} KB ({share:.1%})"
    return at_most(share, limits["max"], message, findings=findings)
