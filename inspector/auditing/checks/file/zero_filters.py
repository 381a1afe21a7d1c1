"""Whether filters consist of zeros."""

from __future__ import annotations

import numpy as np

from inspector.auditing.graph_queries import iterate_filters
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, NotChecked, Verdict, Where, at_most
from inspector.auditing.subject import Subject


@check(
    title="No layer has many filters of zeros",
    limits={"max": Limit(0.1, "largest share of a layer's filters that may be all zeros", low=0, high=1)},
    remedy="Finish the pruning by removing the filters, or export again if nothing was pruned.",
)
def zero_filters(subject: Subject, limits: Limits) -> Verdict:
    """A filter whose weights are all zero sees nothing: pruning that was not finished, or a file that was damaged.

    Weights that onnxruntime's optimiser has laid out in blocks of its own are left out: zeros in them are padding.
    """
    limit = limits["max"]
    worst, where, count, layers = 0.0, Where(), 0, 0
    findings = []
    for layer, weights in iterate_filters(subject):
        layers += 1
        empty = np.asarray(np.count_nonzero(weights, axis=1) == 0)
        share = float(empty.mean())
        count += int(empty.sum())
        here = Where(layer, int(empty.argmax()) if empty.any() else None)
        if share > worst or not where.layer:
            worst, where = share, here
        if limit is not None and share > limit:
            message = f"{int(empty.sum())} of {len(empty)} filters of {layer} are all zeros"
            findings.append(Finding(message, share, limit, here))
    if not layers:
        raise NotChecked("the model has no convolution or linear layer with constant weights", applies=False)
    message = f"{count} filters in {layers} layers are all zeros"
    message += f", most of all in {where.layer} ({worst:.1%})" if count else ""
    return at_most(worst, limit, message, where=where, findings=findings)
