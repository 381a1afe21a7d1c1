"""Whether the graph consists of what the reference consists of."""

from __future__ import annotations

from inspector.auditing.checks.drift.drift_layers import uses_integers
from inspector.auditing.interface import count_operators
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, NotChecked, Verdict, at_most
from inspector.auditing.subject import Subject
from inspector.errors import listing


@check(
    title="The operators are the reference's",
    limits={"max": Limit(0, "nodes that may be there in addition, or be lacking", kind="whole", low=0, optional=True)},
    needs=("reference",),
    remedy="Find out what the new nodes do; where another exporter or optimiser made the file, raise the limit.",
)
def drift_operators(subject: Subject, limits: Limits) -> Verdict:
    """Nodes of each operator are as many as in the reference: an added branch shows here.

    Operators that only hand values on are left out. Networks of integers have other operators.
    """
    if subject.reference is not None:
        before = count_operators(subject.reference.graph)
    elif subject.snapshot is not None and subject.snapshot.operators is not None:
        before = dict(subject.snapshot.operators)
    else:
        raise NotChecked("the snapshot holds no operators; save it again")
    if uses_integers(subject):
        raise NotChecked("one of the two computes with integers, which takes other operators", applies=False)
    after = count_operators(subject.graph)
    changes = {
        name: (before.get(name, 0), after.get(name, 0))
        for name in sorted({*before, *after})
        if before.get(name, 0) != after.get(name, 0)
    }
    total = sum(abs(b - a) for a, b in changes.values())
    findings = [
        Finding(f"{name}: {a} nodes became {b}{_name_new(subject, name)}", abs(b - a), limits["max"], key=name)
        for name, (a, b) in changes.items()
    ]
    message = f"all {sum(after.values())} nodes are of the reference's operators"
    if changes:
        message = f"{total} nodes more or fewer: {listing([f.message for f in findings])}"
    return at_most(total, limits["max"], message, findings=findings)


def _name_new(subject: Subject, operator: str) -> str:
    """The nodes of an operator that make what the reference does not have, as the end of a sentence."""
    if subject.reference is None:
        return ""
    known = subject.reference.graph.producer_of
    new = [
        node.name or node.output[0]
        for node in subject.graph.nodes
        if node.op_type == operator.rpartition(".")[2] and node.output[0] not in known
    ]
    return f" (new: {listing(new)})" if new else ""
