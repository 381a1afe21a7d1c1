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
    """The place a result speaks of; None where it speaks of all.

    Attributes:
        layer: A layer by name.
        channel: A channel of that layer, from 0.
        image: A picture, by its path as it was given.
    """

    layer: str | None = None
    channel: int | None = None
    image: str | None = None

    def __str__(self) -> str:
        channel = None if self.channel is None else f"channel {self.channel}"
        return ", ".join(part for part in (self.layer, channel, self.image) if part)


NOWHERE = Where()


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, in a sentence.

    Attributes:
        message: The sentence.
        value: What was measured, in the check's unit; None where there is no number.
        limit: What it was held against, in the check's unit; None where there is no number.
        where: The place.
        key: What it speaks of where that is no place, such as a class or an operator: reports know it again by both.
    """

    message: str
    value: float | None = None
    limit: float | None = None
    where: Where = NOWHERE
    key: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a check returns.

    Attributes:
        message: The sentence for when all is well, or the sum of the findings.
        value: The figure that was held against `limit`, the worst one where there were several.
        limit: What it was held against.
        where: Where the worst one was.
        findings: What is wrong; the check has passed when there are none.
        unit: Of value and limit, for people.
        details: More for machines; must go into JSON.
        judged: False when it was only measured, because the policy sets no limit.
        unjudged: Why a limit that the policy sets could not be applied, as a clause; then `judged` is False.
    """

    message: str
    value: float | None = None
    limit: float | None = None
    where: Where = NOWHERE
    findings: tuple[Finding, ...] = ()
    unit: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    judged: bool = True
    unjudged: str = ""


class NotChecked(Exception):
    """Raised by a check that could not run, with the reason as a clause: "no pictures were given".

    Attributes:
        reason: The clause.
        applies: False where the check has no meaning for this model, so that nothing is missing.
    """

    def __init__(self, reason: str, *, applies: bool = True) -> None:
        super().__init__(reason)
        self.reason = one_line(reason)
        self.applies = applies


def at_most(value: float, limit: float | None, message: str, **more: Any) -> Verdict:
    """A verdict on a value that must not exceed `limit`.

    Args:
        value: What was measured; NaN exceeds every limit.
        limit: The largest that is allowed; None measures without judging.
        message: The sentence of the verdict, and of its finding where none are given.
        more: `where`, `unit` and `details` of the verdict, and `findings`, which are used where the value exceeds.
    """
    return _make_verdict(limit is None or value <= limit, value, limit, message, **more)


def at_least(value: float, limit: float | None, message: str, **more: Any) -> Verdict:
    """The same for a value that must reach `limit`."""
    return _make_verdict(limit is None or value >= limit, value, limit, message, **more)


def _make_verdict(
    good: bool, value: float, limit: float | None, message: str, findings: Iterable[Finding] = (), **more: Any
) -> Verdict:
    wrong = () if good else tuple(findings)[:MAX_FINDINGS]
    if not good and not wrong:
        wrong = (Finding(message, value, limit, more.get("where", NOWHERE)),)
    return Verdict(message, value, limit, findings=wrong, judged=limit is not None, **more)


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one check.

    Attributes:
        id: The check's id.
        family: The check's family.
        title: What is so when all is well.
        status: `pass`; `fail` or `warn` where it found something, by its severity; `error` where it broke, or the
            model did while it ran; `skipped` where it could not run, for the reason in the message.
        severity: Of its findings.
        counts: What it counts as in the sum: `pass`, `warn`, `fail`, or nothing (`skipped`).
        message: The sentence of the verdict, or why there is none.
        value: As in :class:`Verdict`.
        limit: As in :class:`Verdict`.
        unit: As in :class:`Verdict`.
        where: As in :class:`Verdict`.
        findings: As in :class:`Verdict`.
        details: As in :class:`Verdict`, with numpy's numbers and arrays made plain.
        seconds: How long it took by itself.
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

    Attributes:
        path: The model's file.
        sha256: Digest of the model's file, in hex.
        checks: The results, in the order of the reports.
        passed: Whether nothing counts as a failure, and at least one check ran.
        verdict: The same as a sentence.
        policy: Where the policy came from.
        pictures: How many were looked at.
        seed: Of everything random.
        seconds: How long the whole audit took.
        notes: What had to be assumed about the model.
        digest: Of graph and weights, also where these lie outside of the file: what identifies the model. Empty where
            it could not be opened.
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
    digest: str = ""

    def count(self, status: Status) -> int:
        """Number of checks with this status."""
        return sum(check.status == status for check in self.checks)

    def check(self, id: str) -> CheckResult:
        """The result of the check with this id.

        Raises:
            KeyError: There is no such check in this audit.
        """
        return {check.id: check for check in self.checks}[id]

    def _repr_html_(self) -> str:
        from inspector.notebook import show_verdict

        found = [{"status": x.status, "id": x.id, "message": x.message} for x in self.checks if x.status != "pass"]
        return show_verdict(self.passed, self.verdict, found)


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
