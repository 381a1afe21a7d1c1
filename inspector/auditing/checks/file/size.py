"""Whether the file keeps to its budget."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Verdict, at_most
from inspector.auditing.subject import Subject


@check(
    title="The file keeps to its size",
    limits={"max_mb": Limit(600, "largest size, external data included", unit="MB (10^6 bytes)", low=0)},
    remedy="Remove unused and repeated weights, or quantize the model (`inspector quantize`).",
)
def size(subject: Subject, limits: Limits) -> Verdict:
    """The model with its external data is no larger than the budget."""
    own = subject.model.path.resolve().name
    beside = {
        entry.value
        for tensor in subject.graph.proto.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location" and entry.value != own
    }
    found = (subject.graph.size + sum((subject.graph.folder / name).stat().st_size for name in beside)) / 1e6
    return at_most(found, limits["max_mb"], f"the file has {found:.1f} MB", unit="MB")
