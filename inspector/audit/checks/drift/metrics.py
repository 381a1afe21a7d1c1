"""Whether the model recognises as many pictures as the reference."""

from __future__ import annotations

from inspector.audit.probes.comparison import Comparison
from inspector.audit.probes.predictions import Labelled
from inspector.audit.result import NotChecked, Verdict, at_most
from inspector.audit.subject import Subject
from inspector.audit.table import Limit, Limits, check


@check(
    "drift-accuracy",
    family="drift",
    title="The accuracy is the reference's",
    limits={"max": Limit(0.03, "how much accuracy may be lost")},
    probes=(Comparison, Labelled),
)
def metrics(subject: Subject, limits: Limits, drift: Comparison, said: Labelled) -> Verdict:
    """Accuracy of the reference less that of the model, on the same labelled pictures."""
    details = {}
    if drift.snapshot is not None:
        before = drift.snapshot.metrics.get("accuracy")
        if before is None:
            raise NotChecked("the snapshot was made without labelled pictures")
        after = said.accuracy
        if "balanced_accuracy" in drift.snapshot.metrics:
            details["balanced_accuracy"] = [drift.snapshot.metrics["balanced_accuracy"], said.balanced_accuracy]
    else:
        drift.need_answers()
        before, after = drift.right_before / drift.labelled, drift.right / drift.labelled
    loss = before - after
    message = f"accuracy was {before:.1%} and is {after:.1%}"
    return at_most(loss, limits["max"], message, details={"accuracy": [before, after], **details})
