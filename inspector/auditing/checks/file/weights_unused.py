"""Whether the file carries weights that nothing reads."""

from __future__ import annotations

from inspector.auditing.graph_queries import find_layer_of_weight
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import MAX_FINDINGS, Finding, NotChecked, Verdict, Where, at_most
from inspector.auditing.subject import Subject


@check(
    title="All weights are used",
    severity="warning",
    limits={"max_kb": Limit(16, "weights that may be unused", unit="KB (10^3 bytes)", low=0)},
    remedy="Remove them, for instance with onnxsim, or export again; see whether a head was cut off on purpose.",
)
def weights_unused(subject: Subject, limits: Limits) -> Verdict:
    """Weights that no output depends on cost space and tell of something that was cut off."""
    graph = subject.graph
    if not graph.initializers:
        raise NotChecked("the file has no weights")
    _, used = graph.needed(graph.outputs)
    # Nodes with subgraphs read names that a walk along inputs has seen too, so what is left is unused.
    unused = {name: _size_of(graph.weight(name)) for name in graph.initializers if name not in used}
    total = sum(unused.values()) / 1e3
    message = f"{len(unused)} of {len(graph.initializers)} weight tensors are unused, {total:.1f} KB"
    findings = tuple(
        Finding(
            f"{size / 1e3:.1f} KB of {name!r} are not used by any output", size / 1e3,
            where=Where(find_layer_of_weight(subject, name)), key=name,
        )
        for name, size in sorted(unused.items(), key=lambda item: -item[1])[:MAX_FINDINGS]
    )  # fmt: skip
    return at_most(total, limits["max_kb"], message, findings=findings, unit="KB")


def _size_of(array: object) -> int:
    """Bytes of an array."""
    return int(getattr(array, "nbytes", 0))
