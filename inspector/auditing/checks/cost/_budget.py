"""What the checks of a size share: a budget of one's own, and the reference's."""

from __future__ import annotations

from collections.abc import Callable

from inspector.auditing.limits import Limits
from inspector.auditing.result import Verdict, at_most
from inspector.auditing.subject import Subject
from inspector.model import Model


def judge_budget(subject: Subject, limits: Limits, count: Callable[[Model], int], what: str, digits: int) -> Verdict:
    """The verdict on a count, in millions: its ratio to the reference's where that is out of bounds or all there is.

    Args:
        subject: What is audited.
        limits: `max_millions` and `max_ratio`.
        count: Counts in a model.
        what: The things counted, for the message.
        digits: Decimals of the millions in it.
    """
    found = count(subject.model) / 1e6
    message = f"{found:,.{digits}f} million {what}"
    if subject.reference is not None and limits["max_ratio"] is not None:
        before = count(subject.reference) / 1e6
        message += f", the reference has {before:,.{digits}f} million"
        details = {"millions": found, "reference_millions": before}
        if before and (limits["max_millions"] is None or found / before > limits["max_ratio"]):
            return at_most(found / before, limits["max_ratio"], message, details=details)
    return at_most(found, limits["max_millions"], message, unit="million", details={"millions": found})
