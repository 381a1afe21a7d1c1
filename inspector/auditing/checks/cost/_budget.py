"""What the checks of a size share: a budget of one's own, and the reference's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from inspector.auditing.limits import Limits
from inspector.auditing.result import Verdict, at_most
from inspector.auditing.subject import Subject
from inspector.model import Model


@dataclass(frozen=True)
class Budget:
    """A cost that has a limit of its own and one relative to the reference.

    Args:
        key: What a snapshot calls it.
        count: Counts it in a model.
        what: The things counted, for the message.
        digits: Decimals in the message.
        limit: The setting with the limit of its own, in millions.
        unit: Of that setting.
    """

    key: str
    count: Callable[[Model], int]
    what: str
    digits: int
    limit: str = "max_millions"
    unit: str = "million"


def judge_budget(subject: Subject, limits: Limits, budget: Budget) -> Verdict:
    """The verdict on a count, in millions: its ratio to the reference's where that is out of bounds or all there is."""
    found, own, bound = budget.count(subject.model) / 1e6, limits[budget.limit], limits["max_ratio"]
    message = f"{found:,.{budget.digits}f} {budget.unit} {budget.what}"
    details = {"millions": found}
    before, lacking = (None, "") if bound is None else find_before(subject, budget.key, budget.count)
    if before is not None:
        before /= 1e6
        message += f", the reference has {before:,.{budget.digits}f} {budget.unit}"
        ratio = found / before if before else float("inf")
        if own is None or ratio > bound:
            return at_most(ratio, bound, message, details={**details, "reference_millions": before})
    verdict = at_most(found, own, message, unit=budget.unit, details=details)
    return mark_unjudged(verdict, subject, lacking)


def find_before(subject: Subject, key: str, count: Callable[[Model], float]) -> tuple[float | None, str]:
    """(cost of the reference, ""), or (None, why `max_ratio` cannot be judged).

    Args:
        subject: What is audited.
        key: What a snapshot calls the cost.
        count: Counts it in a model.
    """
    if subject.reference is not None:
        return count(subject.reference), ""
    if subject.snapshot is None:
        return None, "max_ratio is not judged: there is nothing to compare with (--against)"
    if key in subject.snapshot.costs:
        return subject.snapshot.costs[key], ""
    return None, f"max_ratio is not judged: the snapshot holds no {key.replace('_', ' ')}; save it again"


def mark_unjudged(verdict: Verdict, subject: Subject, lacking: str) -> Verdict:
    """The verdict, which does not count as passed where a limit of the policy could not be applied.

    Args:
        verdict: By the limits that could be applied.
        subject: What is audited.
        lacking: Why another could not; empty where all could.
    """
    compared = subject.reference is not None or subject.snapshot is not None
    # Without a reference the limit of one's own is what was asked for, if there is one.
    if not lacking or verdict.findings or (verdict.judged and not compared):
        return verdict
    return replace(verdict, judged=False, unjudged=lacking)
