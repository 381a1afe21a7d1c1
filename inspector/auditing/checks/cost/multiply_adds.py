"""How many multiplications a prediction takes."""

from __future__ import annotations

from inspector.auditing.checks.cost._budget import Budget, judge_budget
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import NotChecked, Verdict
from inspector.auditing.subject import Subject
from inspector.errors import NotComputable
from inspector.model import Model
from inspector.model.multiply_adds import count_multiply_adds


@check(
    title="The arithmetic keeps to its budget",
    limits={
        "max_millions": Limit(None, "most multiply-adds for one picture", unit="millions", low=0),
        "max_ratio": Limit(1.1, "largest ratio to the reference's", low=0),
    },
    remedy="Use a smaller input or fewer channels, or raise the budget if the growth is meant.",
)
def multiply_adds(subject: Subject, limits: Limits) -> Verdict:
    """Multiply-adds of convolutions and matrix products for one picture, from the shapes in the graph."""
    return judge_budget(subject, limits, Budget("multiply_adds", count_arithmetic, "multiply-adds", 1))


def count_arithmetic(model: Model) -> int:
    """Multiply-adds for one picture.

    Raises:
        NotChecked: There are none, or a shape is known neither to the graph nor by a run.
    """
    try:
        total = count_multiply_adds(model)
    except NotComputable as error:
        raise NotChecked(error.message) from None
    if not total:
        raise NotChecked("the model has no convolution or matrix product", applies=False)
    return total
