"""How many are recognised when every class counts the same."""

from __future__ import annotations

from inspector.audit.probes.predictions import Labelled
from inspector.audit.result import Verdict, at_least
from inspector.audit.subject import Subject
from inspector.audit.table import Limit, Limits, check


@check(
    "balanced-accuracy",
    family="behaviour",
    title="Most pictures of every class are recognised",
    limits={"min": Limit(0.6, "smallest mean over the classes of the share recognised", low=0, high=1)},
    probes=(Labelled,),
)
def balanced_accuracy(subject: Subject, limits: Limits, said: Labelled) -> Verdict:
    """Mean over the classes of the share of their pictures that is recognised: a rare class counts as much."""
    found = said.balanced_accuracy
    message = f"{found:.1%} are recognised on average over {len(said.classes)} classes"
    return at_least(found, limits["min"], message)
