"""Whether the map's first pixels matter more to the network than random ones, when they are inserted."""

from __future__ import annotations

from inspector.audit.checks.explanation._curves import LIMITS, faithful
from inspector.audit.probes.maps import Insertion
from inspector.audit.result import Verdict
from inspector.audit.subject import Subject
from inspector.audit.table import Limits, check


@check(
    "cam-insertion",
    family="explanation",
    title="Inserting what the map shows helps more than inserting at random",
    severity="warning",
    limits=LIMITS,
    probes=(Insertion,),
)
def insertion(subject: Subject, limits: Limits, curves: Insertion) -> Verdict:
    """Petsiuk 2018 (arXiv:1806.07421): the area under the class's probability while pixels are inserted in the map's
    order, beside the same for random maps. Where random does as well, the map explains nothing."""
    return faithful(limits, curves, 1)
