"""Whether the file carries the same weights twice."""

from __future__ import annotations

import hashlib

import numpy as np

from inspector.auditing.graph_queries import find_layer_of_weight
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import MAX_FINDINGS, Finding, NotChecked, Verdict, Where, at_most
from inspector.auditing.subject import Subject

_SMALL = 1024


@check(
    title="No weights are there twice",
    severity="warning",
    limits={"max_kb": Limit(64, "weights that may repeat others", unit="KB (10^3 bytes)", low=0)},
    remedy="Share the tensor in the graph, or see whether the layer was ever trained.",
)
def weights_duplicate(subject: Subject, limits: Limits) -> Verdict:
    """Equal tensors above 1 KiB: a layer copied instead of shared, or one whose training never began."""
    graph = subject.graph
    first: dict[tuple[object, ...], str] = {}
    copies: list[tuple[str, str, int]] = []
    seen = 0
    for name in graph.initializers:
        array = np.asarray(graph.weight(name))
        # Layers that start as all zeros or ones are equal by design.
        if array.nbytes <= _SMALL or array.dtype.kind not in "fiuV" or bool((array.flat[0] == array).all()):
            continue
        seen += 1
        key = (array.dtype.str, array.shape, hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest())
        if key in first:
            copies.append((name, first[key], array.nbytes))
        first.setdefault(key, name)
    if not seen:
        raise NotChecked("the file has no weight tensor above 1 KiB")
    total = sum(size for _, _, size in copies) / 1e3
    findings = tuple(
        Finding(f"{name!r} repeats {other!r}", size / 1e3, where=Where(find_layer_of_weight(subject, name)), key=name)
        for name, other, size in copies[:MAX_FINDINGS]
    )
    message = f"{len(copies)} of {seen} weight tensors repeat others, {total:.1f} KB"
    return at_most(total, limits["max_kb"], message, findings=findings, unit="KB")
