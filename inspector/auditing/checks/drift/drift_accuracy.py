"""Whether the model recognises as many pictures as the reference."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.comparison import Comparison
from inspector.auditing.probes.predictions import LabelledPredictions
from inspector.auditing.registry import check
from inspector.auditing.result import Verdict, at_most
from inspector.auditing.subject import Subject


@check(
    title="The accuracy is the reference's",
    limits={
        "max": Limit(0.03, "how much accuracy may be lost", low=-1, high=1),
        "min_pictures": Limit(
            5, "pictures in common below which nothing is compared; fewer where fewer are given", kind="whole", low=1
        ),
    },
    probes=(Comparison, LabelledPredictions),
    remedy="See in `drift-agreement` which pictures changed, and do not ship before you know why.",
)
def drift_accuracy(subject: Subject, limits: Limits, drift: Comparison, predictions: LabelledPredictions) -> Verdict:
    """Accuracy of the reference less that of the model, on the same pictures with the same labels.

    The accuracy of a snapshot is that of the answers that it holds for the pictures it has seen.
    """
    drift.need_answers(limits["min_pictures"])
    before, after = drift.right_before / drift.labelled, drift.right / drift.labelled
    message = f"accuracy was {before:.1%} and is {after:.1%} on {drift.labelled} pictures"
    return at_most(before - after, limits["max"], message, details={"accuracy": [before, after]})
