"""Whether model and reference are given the same picture."""

from __future__ import annotations

from inspector.auditing.limits import Limits
from inspector.auditing.probes.comparison import find_reference_preprocess
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict
from inspector.auditing.subject import Subject


@check(
    title="The preprocess is the reference's",
    needs=("reference",),
    remedy="Write the preprocess of the training with `inspector annotate --preprocess`.",
)
def drift_preprocess(subject: Subject, limits: Limits) -> Verdict:
    """Size, resize, colour order, scale, mean and std in the metadata are those of the reference."""
    before = find_reference_preprocess(subject)
    assert before is not None
    first, second = before.to_json(), subject.model.preprocess.to_json()
    changed = [key for key in first if not _same(first[key], second[key])]
    findings = tuple(Finding(f"{key} was {first[key]} and is {second[key]}", key=key) for key in changed)
    if not findings:
        return Verdict("pictures are prepared as the reference's are", 0, 0)
    message = f"pictures are prepared in another way: {'; '.join(f.message for f in findings[:3])}"
    return Verdict(message, len(findings), 0, findings=findings)


def _same(a: object, b: object) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float) or isinstance(b, float):
        return isinstance(a, int | float) and isinstance(b, int | float) and abs(a - b) <= 1e-6 * max(1, abs(a))
    return a == b
