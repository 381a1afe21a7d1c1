"""Whether a program that runs the reference can run the model."""

from __future__ import annotations

from inspector.auditing.checks.drift.drift_layers import uses_integers
from inspector.auditing.interface import describe_interface, find_changes
from inspector.auditing.limits import Limits
from inspector.auditing.registry import check
from inspector.auditing.result import MAX_FINDINGS, Finding, NotChecked, Verdict
from inspector.auditing.subject import Subject
from inspector.errors import listing
from inspector.model import Model
from inspector.tasks.classify import find_ends


@check(
    title="The inputs and outputs are the reference's",
    needs=("reference",),
    remedy="Export with the names, the order and the free sizes of the release, or save a new snapshot if it is meant.",
)
def drift_interface(subject: Subject, limits: Limits) -> Verdict:
    """Names, order, shapes and types of all inputs and outputs, the exposed layers among them, are the reference's."""
    after = describe_interface(subject.graph)
    if subject.reference is not None:
        before = describe_interface(subject.reference.graph)
    elif subject.snapshot is not None and subject.snapshot.interface is not None:
        before = subject.snapshot.interface
    else:
        raise NotChecked("the snapshot holds no inputs and outputs; save it again")
    changes = [
        *find_changes("input", before.inputs, after.inputs), *find_changes("output", before.outputs, after.outputs),
    ]  # fmt: skip
    if uses_integers(subject):
        # Between integers a convolution and its activation are one: what was exposed between them is no tensor there.
        answers = set(_find_answers(subject.reference)) if subject.reference is not None else set()
        changes = [(name, text) for name, text in changes if name in answers or not text.endswith(" is gone")]
    if not changes:
        return Verdict(f"{len(after.inputs)} inputs and {len(after.outputs)} outputs are the reference's", 0, 0)
    message = f"{len(changes)} changes: {listing([text for _, text in changes], 2)}"
    findings = tuple(Finding(text, key=name) for name, text in changes[:MAX_FINDINGS])
    return Verdict(message, len(changes), 0, findings=findings)


def _find_answers(reference: Model) -> tuple[str, ...]:
    """The outputs that say what class a picture shows; all, where that is not known."""
    if reference.classifier is None:
        return reference.graph.outputs
    return (reference.classifier.scores, *find_ends(reference.graph, reference.classifier.scores))
