"""Whether every weight is a number."""

from __future__ import annotations

import numpy as np

from inspector.auditing.graph_queries import find_layer_of_weight
from inspector.auditing.limits import Limits
from inspector.auditing.registry import check
from inspector.auditing.result import MAX_FINDINGS, Finding, NotChecked, Verdict, Where
from inspector.auditing.subject import Subject
from inspector.graph import FLOAT_TYPES


@check(
    title="All weights are finite",
    remedy="Train again from the last checkpoint that is finite, with a lower learning rate or clipped gradients.",
)
def weights_finite(subject: Subject, limits: Limits) -> Verdict:
    """No weight is NaN or infinite: one is enough to spoil every answer."""
    graph = subject.graph
    total = bad = 0
    findings: list[Finding] = []
    for name, tensor in graph.initializers.items():
        if tensor.data_type not in FLOAT_TYPES:
            continue
        values = np.asarray(graph.weight(name))
        values = values if values.dtype.kind == "f" else values.astype(np.float32)
        total += values.size
        finite = np.isfinite(values)
        count = int(values.size - np.count_nonzero(finite))
        # One infinity by itself is how masks and open clips are written; among several numbers it is a weight.
        if not count or (values.size == 1 and not np.isnan(values).any()):
            continue
        bad += count
        first = np.unravel_index(int(finite.argmin()), values.shape)
        layer = find_layer_of_weight(subject, name)
        channel = int(first[0]) if values.ndim else None
        place = f"layer {layer}" if layer else f"tensor {name}"
        message = f"{count} of {values.size:,} weights of {place} are not finite, the first in channel {channel}"
        findings.append(Finding(message, count, 0, Where(layer, channel), key=name))
    if not total:
        raise NotChecked("the file has no floating-point weights")
    if findings:
        message = f"{bad} of {total:,} weights are not finite, in {findings[0].where.layer or 'the graph'}"
        return Verdict(message, bad, 0, findings[0].where, tuple(findings[:MAX_FINDINGS]))
    return Verdict(f"all {total:,} weights are finite", 0, 0)
