"""What the two checks of average precision share."""

from __future__ import annotations

from inspector.auditing.probes.boxes import BoxPrecision
from inspector.auditing.result import Finding, Verdict, Where, at_least
from inspector.auditing.subject import Subject
from inspector.errors import listing


def judge_precision(
    subject: Subject, limit: float | None, probe: BoxPrecision, *, loose: bool, what: str = "mAP"
) -> Verdict:
    """The verdict on a mean average precision.

    Args:
        subject: What is audited.
        limit: The smallest that is allowed; None only measures.
        probe: What was found.
        what: What it is called.
        loose: Whether an IoU of 0.5 is enough; else the mean over the IoUs from 0.5 to 0.95 is taken.
    """
    probe.need_objects()
    found = probe.precision.summary()
    label = subject.model.label
    value, name = (found.map50, f"{what}50") if loose else (found.map50_95, f"{what}50-95")
    classes = found.by_class_50 if loose else found.by_class
    worst = sorted(classes.items(), key=lambda item: item[1])
    message = f"{name} is {value:.3f} over {sum(found.objects.values())} objects on {probe.pictures} pictures"
    if len(worst) > 1:
        message += f", lowest of {label(worst[0][0])} ({worst[0][1]:.3f})"
    findings = [Finding(f"{message}, where {limit or 0:g} is asked", value, limit)]
    findings += [
        Finding(f"the average precision of {label(k)} is {share:.3f}", share, limit, key=label(k))
        for k, share in worst if limit is not None and share < limit
    ]  # fmt: skip
    for one in sorted(probe.missed, key=lambda one: -sum(one.lost.values()) - one.wrong):
        lost = listing([f"{count} of {label(k)}" for k, count in one.lost.items()])
        parts = [f"objects not found: {lost}"] if lost else []
        parts += [f"boxes that are no object: {one.wrong}"] if one.wrong else []
        findings.append(Finding(f"{one.shown}: {'; '.join(parts)}", where=Where(image=one.shown)))
    details = {
        "map50": found.map50, "map75": found.map75, "map50_95": found.map50_95, "by_area": found.by_area,
        "by_class": {label(k): share for k, share in classes.items()}, "recall": found.recall,
        "objects": {label(k): count for k, count in found.objects.items()},
    }  # fmt: skip
    return at_least(value, limit, message, findings=findings, details=details)
