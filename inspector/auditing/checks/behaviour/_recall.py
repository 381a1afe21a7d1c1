"""What is said of the share that is found of each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inspector.auditing.result import Finding, Verdict, at_least
from inspector.auditing.subject import Subject


def judge_recalls(
    subject: Subject,
    recalls: Mapping[int, float],
    limit: float | None,
    whose: str,
    verb: str,
    source: str = "",
    **details: Any,
) -> Verdict:
    """Judge the class of which least is found, and list those below the limit.

    Args:
        subject: What is audited; it knows the names of classes.
        recalls: Class -> share in [0, 1].
        limit: Smallest share; None for no limit.
        whose: What is counted: "the objects of", "the class".
        verb: What was done with it: "found", "recognised".
        source: What the shares are from, as a clause behind the message.
        details: What the document holds besides the shares.
    """
    label = subject.model.label
    worst = min(recalls, key=lambda k: recalls[k])
    findings = [
        Finding(f"of {whose} {label(k)} only {share:.1%} are {verb}", share, limit, key=label(k))
        for k, share in sorted(recalls.items(), key=lambda item: item[1]) if limit is not None and share < limit
    ]  # fmt: skip
    message = f"least {verb} of {len(recalls)} classes is {label(worst)}, {recalls[worst]:.1%}{source}"
    shares = {label(k): share for k, share in recalls.items()}
    return at_least(recalls[worst], limit, message, findings=findings, details={"recall": shares, **details})
