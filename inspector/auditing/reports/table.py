"""The audit for people, in a terminal."""

from __future__ import annotations

from inspector.auditing.reports.words import format_number
from inspector.auditing.result import Audit, CheckResult

_MARK = {"pass": "ok", "warn": "WARN", "fail": "FAIL", "error": "BROKE", "skipped": "-"}
_SHOWN = 5
"""Findings shown of each check; the JSON document has them all."""


def format_table(audit: Audit, width: int = 100) -> str:
    """A line per check that ran, the findings below it, then what was not run and why, and the sum.

    Args:
        audit: The finished audit.
        width: Of the terminal in characters; sentences are cut to it.
    """
    rows = [c for c in audit.checks if c.status != "skipped"]
    skipped = [c for c in audit.checks if c.status == "skipped"]
    names = max((len(c.id) for c in audit.checks), default=0)
    values = max((len(format_number(c.value, c.unit)) for c in rows), default=0)
    limits = max((len(format_number(c.limit)) for c in rows), default=0)
    lines: list[str] = []
    if rows:
        lines.append(f"{'':5}  {'check':{names}}  {'value':>{max(5, values)}}  {'limit':>{max(5, limits)}}")
        lines.append("-" * min(width, 96))
    for c in rows:
        head = (
            f"{_MARK[c.status]:5}  {c.id:{names}}  {format_number(c.value, c.unit):>{max(5, values)}}  "
            f"{format_number(c.limit):>{max(5, limits)}}  "
        )
        lines.append(_cut(head + c.message, width))
        lines += _findings(c, width)
    if skipped:
        lines += ["", "not run or not judged:"]
        lines += [_cut(f"{_count(c):5}  {c.id:{names}}  {c.message.removeprefix('not run: ')}", width) for c in skipped]
    over = f" over {audit.pictures} pictures" if audit.pictures else ""
    lines += ["", f"{audit.verdict}{over} in {audit.seconds:.1f} s (policy: {audit.policy}, seed {audit.seed})"]
    return "\n".join(lines)


def _count(check: CheckResult) -> str:
    return {"fail": "FAIL", "warn": "WARN"}.get(check.counts, "-")


def _findings(check: CheckResult, width: int) -> list[str]:
    shown = [f.message for f in check.findings if f.message != check.message]
    lines = [_cut(f"{'':7}{text}", width) for text in shown[:_SHOWN]]
    if len(shown) > _SHOWN:
        lines.append(f"{'':7}and {len(shown) - _SHOWN} more (--json has them all)")
    return lines


def _cut(line: str, width: int) -> str:
    line = line.rstrip()
    return line if len(line) <= width else line[: width - 1] + "…"
