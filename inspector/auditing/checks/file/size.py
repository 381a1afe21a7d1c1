"""Whether the file keeps to its budget."""

from __future__ import annotations

from inspector.auditing.checks.cost._budget import Budget, judge_budget
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Verdict
from inspector.auditing.subject import Subject
from inspector.model import Model


@check(
    title="The file keeps to its size",
    limits={
        "max_mb": Limit(600, "largest size, external data included", unit="MB (10^6 bytes)", low=0),
        "max_ratio": Limit(None, "largest ratio to the reference's", low=0),
    },
    remedy="Remove unused and repeated weights, or quantize the model (`inspector quantize`).",
)
def size(subject: Subject, limits: Limits) -> Verdict:
    """The model with its external data is no larger than the budget."""
    return judge_budget(subject, limits, Budget("bytes", count_bytes, "in the file", 1, "max_mb", "MB"))


def count_bytes(model: Model) -> int:
    """Bytes of the file and of the external data beside it."""
    own = model.path.resolve().name
    beside = {
        entry.value
        for tensor in model.graph.proto.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location" and entry.value != own
    }
    return int(model.graph.size + sum((model.graph.folder / name).stat().st_size for name in beside))
