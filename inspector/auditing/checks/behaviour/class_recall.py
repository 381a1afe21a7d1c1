"""Whether a class is hardly ever recognised."""

from __future__ import annotations

from inspector.auditing.checks.behaviour._recall import judge_recalls
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.predictions import LabelledPredictions
from inspector.auditing.registry import check
from inspector.auditing.result import Verdict
from inspector.auditing.subject import Subject


@check(
    title="No class is left out",
    limits={"min": Limit(0.3, "smallest share of a class's pictures that must be recognised", low=0, high=1)},
    probes=(LabelledPredictions,),
    remedy="Look at the class's pictures: wrong labels, too few of them, or two names exchanged are the usual causes.",
)
def class_recall(subject: Subject, limits: Limits, predictions: LabelledPredictions) -> Verdict:
    """Share of each class's pictures that is recognised; swapped labels show as two classes at zero."""
    return judge_recalls(subject, predictions.recalls(), limits["min"], "the class", "recognised", predictions.source)
