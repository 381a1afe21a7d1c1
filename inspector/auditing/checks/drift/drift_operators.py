"""Whether the graph consists of what the reference consists of."""

from __future__ import annotations

from inspector.auditing.checks.drift.drift_layers import uses_integers
from inspector.auditing.interface import count_operators, name_operator
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
    """The nodes of an operator that the reference does not have, as the end of a sentence.

    Empty where the two have no name of such a node in common, as two exports may: only the counts tell then.
    """
    if subject.reference is None:
        return ""
    before, after = (
        [node for node in graph.nodes if name_operator(node) == operator]
        for graph in (subject.reference.graph, subject.graph)
    )
    known = {name for node in before for name in (node.name, node.output[0]) if name}
    new = [node for node in after if known.isdisjoint((node.name, node.output[0]))]
    if not new or (before and len(new) == len(after)):
        return ""
    what = "new" if len(new) == len(after) - len(before) else "new, or under another name"
    return f" ({what}: {listing([node.name or node.output[0] for node in new])})"
