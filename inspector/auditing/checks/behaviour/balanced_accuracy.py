"""How many are recognised when every class counts the same."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.predictions import LabelledPredictions
from inspector.auditing.registry import check
from inspector.auditing.result import Verdict, at_least
from inspector.auditing.subject import Subject


@check(
    title="Most pictures of every class are recognised",
    limits={"min": Limit(0.6, "smallest mean over the classes of the share recognised", low=0, high=1)},
    probes=(LabelledPredictions,),
    remedy="Look at the classes that `class-recall` names; train with more of their pictures or with weights for them.",
)
def balanced_accuracy(subject: Subject, limits: Limits, predictions: LabelledPredictions) -> Verdict:
    """Mean over the classes of the share of their pictures that is recognised: a rare class counts as much."""
    found = predictions.balanced_accuracy
    message = f"{found:.1%} are recognised on average over {len(predictions.classes)} classes{predictions.source}"
    return at_least(found, limits["min"], message)
