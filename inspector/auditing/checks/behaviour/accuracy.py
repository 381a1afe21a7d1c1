"""How many pictures are recognised."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.predictions import LabelledPredictions
from inspector.auditing.registry import check
from inspector.auditing.result import MAX_FINDINGS, Finding, Verdict, Where, at_least
from inspector.auditing.subject import Subject


@check(
    title="Most pictures are recognised",
    limits={"min": Limit(0.6, "smallest share of the pictures whose top class is their own", low=0, high=1)},
    probes=(LabelledPredictions,),
    remedy="See which classes are confused, and whether preprocess and labels in the file are those of the training.",
)
def accuracy(subject: Subject, limits: Limits, predictions: LabelledPredictions) -> Verdict:
    """Share of the labelled pictures whose most likely class is their own."""
    found = predictions.accuracy
    label = subject.model.label
    limit = limits["min"]
    scan = " of the scan" if predictions.source else ""
    message = f"{found:.1%} of {predictions.count} pictures{scan} are recognised"
    findings = [Finding(f"{message}, where {limit or 0:.1%} are asked", found, limit)] + [
        Finding(f"{s.shown} is taken for {label(s.index)} ({s.probability:.0%})", where=Where(image=s.shown))
        for s in predictions.list_wrong(MAX_FINDINGS)
    ]
    return at_least(found, limit, message, findings=findings)
