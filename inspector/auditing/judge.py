"""From what a check says to its result: what it counts as by the policy, whether it ran or not."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace

from inspector.auditing.policy import Counts, Policy
from inspector.auditing.registry import Check
from inspector.auditing.result import CheckResult, NotChecked, Status, Verdict, Where
from inspector.auditing.subject import Subject
from inspector.auditing.walk import AuditWalk
from inspector.errors import InspectorError, one_line
from inspector.text import to_plain

_COUNTS: Mapping[Counts, Status] = {"skip": "skipped", "warn": "warn", "fail": "fail"}


def judge(check: Check, walk: AuditWalk) -> CheckResult:
    """The result of one check, after the pictures have gone by."""
    subject, policy = walk.subject, walk.subject.policy
    begin = time.perf_counter()
    try:
        verdict = _ask(check, walk)
        return conclude_check(check, policy, verdict, time.perf_counter() - begin)
    except NotChecked as reason:
        result = skip_check(check, policy, reason, was_asked_for(check, subject, reason.applies))
        return replace(result, seconds=time.perf_counter() - begin)
    except Exception as error:
        if os.environ.get("INSPECTOR_DEBUG"):
            raise
        return _report_error(check, policy, error, time.perf_counter() - begin)


def _ask(check: Check, walk: AuditWalk) -> Verdict:
    """The check's verdict. Raises NotChecked, or whatever it or one of its probes has raised."""
    for kind in check.probes:
        if kind in walk.broken:
            raise walk.broken[kind]
        if kind in walk.missing:
            raise walk.missing[kind]
    subject = walk.subject
    none_readable = len(subject.unreadable) == len(subject.pictures)
    if none_readable and check.probes and all(probe.needs_readable for probe in check.probes):
        raise NotChecked("none of the pictures could be read")
    subject.need(*check.own_needs)
    limits = subject.policy.rules[check.id].limits
    return check.run(subject, limits, *(walk.probes[kind] for kind in check.probes))


def was_asked_for(check: Check, subject: Subject, applies: bool) -> bool:
    """Whether somebody asked for this check by giving what it alone needs: then it may not be left out silently."""
    if check.asked_by is None or not subject.has(check.asked_by):
        return False
    # A reference serves several checks, of which some may mean nothing for this model; a region serves these alone.
    return applies or check.asked_by != "reference"


def conclude_check(check: Check, policy: Policy, verdict: Verdict, seconds: float) -> CheckResult:
    """The result of a check that ran."""
    rule = policy.rules[check.id]
    status: Status = "pass" if not verdict.findings else ("fail" if rule.severity == "error" else "warn")
    message = verdict.message
    if not verdict.judged:
        status, message = "skipped", f"measured: {message}; {verdict.unjudged or 'the policy sets no limit'}"
    counts: Status = _COUNTS[policy.could_not_run] if verdict.unjudged else status
    counts = "fail" if rule.required and not verdict.judged else counts
    findings = tuple(
        replace(f, value=_to_number(f.value), limit=_to_number(f.limit), where=_plain_where(f.where))
        for f in verdict.findings
    )
    return CheckResult(
        id=check.id, family=check.family, title=check.title, status=status, severity=rule.severity, counts=counts,
        message=one_line(message, 1000), value=_to_number(verdict.value), limit=_to_number(verdict.limit),
        unit=verdict.unit, where=_plain_where(verdict.where), findings=findings if verdict.judged else (),
        details=to_plain(verdict.details), seconds=seconds,
    )  # fmt: skip


def skip_check(check: Check, policy: Policy, reason: NotChecked, asked: bool = False) -> CheckResult:
    """The result of a check that could not run.

    Args:
        check: The check.
        policy: What it counts as then.
        reason: Why.
        asked: Whether somebody asked for it: what did not happen then is never silently left out.
    """
    rule = policy.rules[check.id]
    counts: Counts = policy.could_not_run if reason.applies else "skip"
    counts = "fail" if rule.required or asked else counts
    return CheckResult(
        id=check.id, family=check.family, title=check.title, status="skipped", severity=rule.severity,
        counts=_COUNTS[counts], message=f"not run: {reason.reason}",
    )  # fmt: skip


def _report_error(check: Check, policy: Policy, error: Exception, seconds: float) -> CheckResult:
    rule = policy.rules[check.id]
    text = error.message if isinstance(error, InspectorError) else f"{type(error).__name__}: {error}"
    counts: Counts = "fail" if rule.required else policy.broken
    return CheckResult(
        id=check.id, family=check.family, title=check.title, status="error", severity=rule.severity,
        counts=_COUNTS[counts], message=one_line(f"broke: {text}", 600), seconds=seconds,
    )  # fmt: skip


def _to_number(value: float | None) -> float | None:
    """A number that every report can write: a project's own check may give numpy's."""
    return value if value is None or type(value) in (int, float) else float(value)


def _plain_where(where: Where) -> Where:
    return where if where.channel is None else replace(where, channel=int(where.channel))
