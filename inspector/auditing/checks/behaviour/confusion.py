"""Whether one class is taken for another."""

from __future__ import annotations

from collections import Counter

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.predictions import LabelledPredictions
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict, at_most
from inspector.auditing.subject import Subject


@check(
    title="No class is taken for another",
    severity="warning",
    limits={"max": Limit(0.5, "largest share of a class's pictures that are taken for one other class", low=0, high=1)},
    probes=(LabelledPredictions,),
    remedy="Look at pictures of both classes: join the classes, or train with more pictures that tell them apart.",
)
def confusion(subject: Subject, limits: Limits, predictions: LabelledPredictions) -> Verdict:
    """The pairs of classes that are confused most, and the whole table in the JSON document."""
    label = subject.model.label
    sizes = Counter(predictions.true.tolist())
    pairs = Counter(zip(predictions.true.tolist(), predictions.given.tolist(), strict=True))
    wrong = {pair: count / sizes[pair[0]] for pair, count in pairs.items() if pair[0] != pair[1]}
    limit = limits["max"]
    rows = [
        {"class": label(true), "taken_for": label(given), "pictures": count}
        for (true, given), count in sorted(pairs.items(), key=lambda item: -item[1])
    ]
    if not wrong:
        return at_most(0.0, limit, f"no class is taken for another{predictions.source}", details={"confusion": rows})
    worst = max(wrong, key=lambda pair: wrong[pair])
    findings = [
        Finding(f"{share:.1%} of {label(true)} are taken for {label(given)}", share, limit, key=f"{true}>{given}")
        for (true, given), share in sorted(wrong.items(), key=lambda item: -item[1])
        if limit is not None and share > limit
    ]
    message = f"{label(worst[0])} is taken for {label(worst[1])} most often, {wrong[worst]:.1%}{predictions.source}"
    return at_most(wrong[worst], limit, message, findings=findings, details={"confusion": rows[:1000]})
