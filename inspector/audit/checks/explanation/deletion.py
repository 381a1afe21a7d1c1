"""Whether the map's first pixels matter more to the network than random ones, when they are removed."""

from __future__ import annotations

from inspector.audit.checks.explanation._curves import LIMITS, faithful
from inspector.audit.probes.maps import Deletion
from inspector.audit.result import Verdict
from inspector.audit.subject import Subject
from inspector.audit.table import Limits, check


@check(
    "cam-deletion",
    family="explanation",
    title="Removing what the map shows hurts more than removing at random",
    severity="warning",
    limits=LIMITS,
    probes=(Deletion,),
)
def deletion(subject: Subject, limits: Limits, curves: Deletion) -> Verdict:
    """Petsiuk 2018 (arXiv:1806.07421): the area under the class's probability while pixels are removed in the map's
    order, beside the same for random maps. Where random does as well, the map explains nothing."""
    return faithful(limits, curves, -1)
