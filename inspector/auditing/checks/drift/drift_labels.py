"""Whether a class still has its name."""

from __future__ import annotations

from inspector.auditing.limits import Limits
from inspector.auditing.probes.comparison import find_reference_labels
from inspector.auditing.registry import check
from inspector.auditing.result import MAX_FINDINGS, Finding, NotChecked, Verdict
from inspector.auditing.subject import Subject
from inspector.errors import listing


@check(
    title="The labels are the reference's",
    needs=("reference",),
    remedy="Write the right labels with `inspector annotate --labels`, or save a new snapshot if the change is meant.",
)
def drift_labels(subject: Subject, limits: Limits) -> Verdict:
    """Every index has the name that it has in the reference; swapped names show here without a single picture."""
    before, after = find_reference_labels(subject), subject.model.labels
    if before is None and after is None:
        raise NotChecked("neither model has labels", applies=False)
    if before is None or after is None:
        raise NotChecked(f"the {'reference' if before is None else 'model'} has no labels")
    if len(before) != len(after):
        message = f"{len(before)} labels became {len(after)}"
        return Verdict(message, len(after), len(before), findings=(Finding(message, len(after), len(before)),))
    changed = {
        i: f"class {i} was {a!r} and is {b!r}" for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b
    }
    if not changed:
        return Verdict(f"all {len(after)} labels are the reference's", 0, 0)
    message = f"{len(changed)} of {len(after)} labels changed: {listing(list(changed.values()), 2)}"
    return Verdict(
        message,
        len(changed),
        0,
        findings=tuple(Finding(text, key=str(i)) for i, text in list(changed.items())[:MAX_FINDINGS]),
    )
