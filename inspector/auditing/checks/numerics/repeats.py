"""Whether the same picture gets the same answer twice."""

from __future__ import annotations

import numpy as np

from inspector.auditing.limits import Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, NotChecked, Verdict, Where
from inspector.auditing.subject import Subject


@check(
    title="The same picture gets the same answer",
    remedy="Look at the first layer that is named: a random operator, dropout at work, or sums in any order.",
)
def repeats(subject: Subject, limits: Limits) -> Verdict:
    """Two runs on one picture give the same values to the last bit, in every layer: nothing in the graph is random."""
    model = subject.model
    if not model.layers:
        raise NotChecked("the model has no layers")
    name, tensor = next(subject.tensors(1))
    first, scores = model.layer_values(tensor, scores=True)
    first = {key: value.copy() for key, value in first.items()}
    again, scores_again = model.layer_values(tensor, scores=True)
    differ = [key for key in first if not np.array_equal(first[key], again[key], equal_nan=True)]
    if not differ and scores is not None and scores_again is not None:
        differ = [] if np.array_equal(scores, scores_again, equal_nan=True) else ["scores"]
    if not differ:
        return Verdict(f"two runs on {name} give the same in all {len(first)} layers", 0, 0)
    message = f"two runs on {name} differ in {len(differ)} layers, first in {differ[0]}"
    where = Where(differ[0], None, name)
    return Verdict(message, len(differ), 0, where, (Finding(message, len(differ), 0, where),))
