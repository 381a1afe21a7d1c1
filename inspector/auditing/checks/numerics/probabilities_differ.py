"""Whether the scores lie far enough apart for probabilities."""

from __future__ import annotations

import numpy as np

from inspector.auditing.limits import Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, NotChecked, Verdict
from inspector.auditing.subject import Subject
from inspector.model.probabilities import to_probabilities

_SAMPLE = 4
"""Pictures that are looked at."""


@check(
    title="Classes have probabilities of their own",
    severity="warning",
    needs=("classification",),
    remedy="Look at what scales the scores: a network that is not trained gives such scores, or one whose scores were "
    "made small.",
)
def probabilities_differ(subject: Subject, limits: Limits) -> Verdict:
    """The softmax or sigmoid of the scores, in float32, is not one and the same for all classes on every picture.

    Scores may differ and still lie so close together that nobody can tell the classes apart by their probabilities.
    """
    model, classifier = subject.model, subject.model.classifier
    scores = np.concatenate([model.scores(tensor)[:1] for _, tensor in subject.tensors(_SAMPLE)])
    if classifier is None or classifier.activation == "none":
        raise NotChecked("the graph gives probabilities and no scores", applies=False)
    if not np.isfinite(scores).all():
        raise NotChecked("the scores are not finite, see finite-on-plain")
    span = float(scores.max()) - float(scores.min())
    if not span:
        raise NotChecked("all scores are the same, see scores-differ")
    made = to_probabilities(scores, classifier.activation).astype(np.float32)
    if made.shape[1] < 2 or (made != made[0, 0]).any():
        return Verdict(f"probabilities of {len(made)} pictures differ", 0, 0)
    message = f"every class has the probability {made[0, 0]:.3g} on all of {len(made)} pictures"
    message += f": the scores lie within {span:.1g}"
    return Verdict(message, 1, 0, findings=(Finding(message),))
