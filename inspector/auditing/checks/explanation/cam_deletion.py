"""Whether the map's first pixels matter more to the network than random ones, when they are removed."""

from __future__ import annotations

from inspector.auditing.checks.explanation._curves import LIMITS, judge_faithfulness
from inspector.auditing.limits import Limits
from inspector.auditing.probes.maps import Deletion
from inspector.auditing.registry import check
from inspector.auditing.result import Verdict
from inspector.auditing.subject import Subject


@check(
    title="Removing what the map shows hurts more than removing at random",
    severity="warning",
    limits=LIMITS,
    probes=(Deletion,),
    remedy="Do not show these maps as an explanation; try another method or layer (`inspector cam --method`).",
)
def cam_deletion(subject: Subject, limits: Limits, curves: Deletion) -> Verdict:
    """Area under the class's probability while pixels are removed in the map's order, beside that of random maps.

    Petsiuk 2018 (arXiv:1806.07421). Where random does as well, the map explains nothing.
    """
    return judge_faithfulness(limits, curves, -1)
