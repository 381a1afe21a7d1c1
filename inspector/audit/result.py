"""What an audit says: one frozen result that every report is written from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from inspector.errors import one_line

Status = Literal["pass", "warn", "fail", "error", "skipped"]
Severity = Literal["error", "warning"]

STATUSES: tuple[Status, ...] = ("pass", "warn", "fail", "error", "skipped")
MAX_FINDINGS = 100
"""Findings that one check keeps; its message says how many there were."""


@dataclass(frozen=True)
class Where:
    """The place a result speaks of; None where it speaks of all. image: a path as it was given."""

    layer: str | None = None
    channel: int | None = None
    image: str | None = None

    def __str__(self) -> str:
        channel = None if self.channel is None else f"channel {self.channel}"
        return ", ".join(part for part in (self.layer, channel, self.image) if part)


NOWHERE = Where()


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, in a sentence; value and limit in the check's unit, None where there is no number.

    key: what it speaks of where that is no place, such as a class or an operator: reports know it again by both.
    """

    message: str
    value: float | None = None
    limit: float | None = None
    where: Where = NOWHERE
    key: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a check returns.

    message: the sentence for when all is well, or the sum of the findings. value: the figure that was held against
    `limit`, the worst one where there were several, and `where` it was.
    findings: what is wrong; the check has passed when there are none.
    unit: of value and limit, for people. details: more for machines, must go into JSON.
    judged: False when it was only measured, because the policy sets no limit.
    """

    message: str
    value: float | None = None
    limit: float | None = None
    where: Where = NOWHERE
    findings: tuple[Finding, ...] = ()
    unit: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    judged: bool = True


class NotChecked(Exception):
    """Raised by a check that could not run, with the reason as a clause: "no pictures were given".

    applies: False where it has no meaning for this model, so that nothing is missing.
    """

    def __init__(self, reason: str, *, applies: bool = True) -> None:
        super().__init__(reason)
        self.reason = one_line(reason)
        self.applies = applies


def at_most(value: float, limit: float | None, message: str, **more: Any) -> Verdict:
    """A verdict on a value that must not exceed `limit`; the message is the finding where none are given.

    limit: None measures without judging. more: where, unit, findings (used when the value exceeds the limit), details.
    """
    return _compare(value, limit, message, limit is None or value <= limit, **more)


def at_least(value: float, limit: float | None, message: str, **more: Any) -> Verdict:
    """The same for a value that must reach `limit`."""
    return _compare(value, limit, message, limit is None or value >= limit, **more)


def _compare(
    value: float, limit: float | None, message: str, good: bool, *, where: Where = NOWHERE, unit: str = "",
    findings: Iterable[Finding] = (), details: Mapping[str, Any] | None = None,
) -> Verdict:  # fmt: skip
    found = () if good else tuple(findings)[:MAX_FINDINGS] or (Finding(message, value, limit, where),)
    return Verdict(message, value, limit, where, found, unit, details or {}, judged=limit is not None)


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one check.

    status: pass; fail and warn: it found something, by its severity; error: it broke, or the model did while it ran;
        skipped: it could not run, for the reason in the message.
    counts: what it counts as in the sum: pass, warn, fail or nothing (skipped).
    value, limit, unit, where, findings, details: as in :class:`Verdict`. seconds: it took by itself.
    """

    id: str
    family: str
    title: str
    status: Status
    severity: Severity
    counts: Status
    message: str
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    where: Where = NOWHERE
    findings: tuple[Finding, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)
    seconds: float = 0.0

    @property
    def ran(self) -> bool:
        """Whether something was really held against a limit."""
        return self.status in ("pass", "warn", "fail")


@dataclass(frozen=True)
class Audit:
    """The result of one audit.

    passed: nothing counts as a failure, and at least one check ran. verdict: the same as a sentence.
    path, sha256: the model; sha256 is empty where the file could not be read. policy: where the policy came from.
    pictures: how many were looked at. seed: of everything random. seconds: the whole audit.
    """

    path: Path
    sha256: str
    checks: tuple[CheckResult, ...]
    passed: bool
    verdict: str
    policy: str
    pictures: int
    seed: int
    seconds: float
    notes: tuple[str, ...] = ()

    def count(self, status: Status) -> int:
        """Number of checks with this status."""
        return sum(check.status == status for check in self.checks)

    def check(self, id: str) -> CheckResult:
        """The result of the check with this id. Raises KeyError."""
        return {check.id: check for check in self.checks}[id]


def conclude(checks: Iterable[CheckResult], fail_on: Severity = "error") -> tuple[bool, str]:
    """(passed, the same as a sentence) for results. "Nothing was checked" is never a pass."""
    results = list(checks)
    ran = [c for c in results if c.ran]
    failed = [c for c in results if c.counts == "fail" or (fail_on == "warning" and c.counts == "warn")]
    sums = ", ".join(
        f"{n} {word}"
        for status, word in (("pass", "passed"), ("warn", "warned"), ("fail", "failed"), ("error", "broke"),
                             ("skipped", "not run"))
        if (n := sum(c.status == status for c in results))
    )  # fmt: skip
    if failed:
        return False, f"not fit to ship: {sums}"
    if not ran:
        return False, f"nothing was checked: {sums or 'the policy turns every check off'}"
    return True, f"passed: {sums}"
