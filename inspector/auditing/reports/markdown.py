"""The audit as Markdown, for the summary of a CI job."""

from __future__ import annotations

import os
import re

from inspector.auditing.reports.words import format_number
from inspector.auditing.result import Audit, CheckResult
from inspector.errors import OutputError, one_line

MAX_BYTES = 1_000_000
"""GitHub drops a step's summary above 1 MiB."""

_MARK = {"pass": "✅ pass", "warn": "⚠️ warn", "fail": "❌ fail", "error": "💥 broke", "skipped": "➖ not run"}
_SHOWN = 10


def format_markdown(audit: Audit) -> str:
    """A headline, a table of what failed and warned with its findings, and the rest folded away; at most 1 MB."""
    head = "✅" if audit.passed else "❌"
    outside = audit.digest not in ("", audit.sha256)
    weights = f", with its weights `{audit.digest[:12]}`" if outside else ""
    lines = [
        f"## {head} {_text(audit.path.name)}: {_text(audit.verdict)}",
        "",
        f"sha256 `{audit.sha256[:12] or 'unknown'}`{weights} · {audit.pictures} pictures · "
        f"policy {_text(audit.policy)} · seed {audit.seed} · {audit.seconds:.1f} s",
        "",
    ]
    bad = [c for c in audit.checks if c.counts in ("fail", "warn") or c.status == "error"]
    good = [c for c in audit.checks if c not in bad and c.ran]
    rest = [c for c in audit.checks if c not in bad and not c.ran]
    if bad:
        lines += _table(bad)
        for check in bad:
            shown = [f for f in check.findings if f.message != check.message]
            if shown:
                lines += ["", f"**{_text(check.id)}**", ""]
                lines += [f"- {_text(finding.message)}" for finding in shown[:_SHOWN]]
                lines += [f"- and {len(shown) - _SHOWN} more"] if len(shown) > _SHOWN else []
        lines.append("")
    for title, checks in ((f"{len(good)} checks passed", good), (f"{len(rest)} not run or not judged", rest)):
        if checks:
            lines += [f"<details><summary>{title}</summary>", "", *_table(checks), "", "</details>", ""]
    return _within("\n".join(lines), MAX_BYTES)


def append_summary(text: str) -> str | None:
    """Append to the file that $GITHUB_STEP_SUMMARY names; its path, or None where it is not set.

    Raises:
        OutputError: It cannot be written.
    """
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return None
    try:
        # Not atomic: other steps' text is in the file already, and the runner reads it when the step has ended.
        with open(path, "ab") as file:  # noqa: PTH123  a Path would drop a trailing separator, which is an error
            room = MAX_BYTES - file.tell()
            if room > 1000:
                file.write((_within(text, room - 1) + "\n").encode("utf-8", "replace"))
    except OSError as error:
        raise OutputError(f"cannot write {path} ($GITHUB_STEP_SUMMARY): {error.strerror or error}") from None
    return path


def _table(checks: list[CheckResult]) -> list[str]:
    rows = ["| | check | value | limit | what it says |", "|---|---|---:|---:|---|"]
    for c in checks:
        mark = _MARK["fail"] if c.counts == "fail" and c.status == "skipped" else _MARK[c.status]
        value, limit = format_number(c.value, c.unit), format_number(c.limit)
        rows.append(f"| {mark} | `{_code(c.id)}` | {value} | {limit} | {_text(c.message)} |")
    return rows


def _text(text: str) -> str:
    """Text that Markdown and HTML show as it is: names in it come from files of strangers."""
    flat = one_line(text, 500).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]#|~@!])", r"\\\1", flat)


def _code(text: str) -> str:
    return one_line(text, 200).replace("`", "'").replace("|", "/")


def _within(text: str, limit: int) -> str:
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return text
    note = "\n\n*(cut: the report is too long)*\n"
    cut = data[: max(0, limit - len(note))].decode("utf-8", "ignore")
    return cut[: cut.rfind("\n")] + note
