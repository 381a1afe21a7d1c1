"""Whether probabilities mean what they say."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.predictions import LabelledPredictions
from inspector.auditing.registry import check
from inspector.auditing.result import NotChecked, Verdict, at_most
from inspector.auditing.subject import Subject
from inspector.metrics import measure_calibration_error


@check(
    title="Probabilities mean what they say",
    severity="warning",
    limits={
        "max": Limit(0.35, "largest expected calibration error", low=0, high=1),
        "bins": Limit(15, "bins of equal width from 0 to 1", kind="whole", low=1, high=10_000),
        "min_pictures": Limit(30, "pictures below which it is not judged", kind="whole", low=1),
    },
    probes=(LabelledPredictions,),
    remedy="Divide the scores by a temperature measured on pictures kept aside, or do not show the probabilities.",
)
def calibration(subject: Subject, limits: Limits, predictions: LabelledPredictions) -> Verdict:
    """Expected calibration error (Naeini 2015, Guo 2017): of pictures called 80 % sure, 80 % should be right."""
    fewest = int(limits["min_pictures"] or 1)
    if predictions.count < fewest:
        raise NotChecked(f"{predictions.count} labelled pictures are too few; the policy asks for {fewest}")
    found, bins = measure_calibration_error(
        predictions.confidence, predictions.given == predictions.true, int(limits["bins"] or 15)
    )
    gap = float(predictions.confidence.mean() - (predictions.given == predictions.true).mean())
    word = "too sure" if gap > 0 else "not sure enough"
    message = f"probabilities are off by {found:.3f} on average ({word}){predictions.source}"
    return at_most(found, limits["max"], message, details={"bins": bins})
