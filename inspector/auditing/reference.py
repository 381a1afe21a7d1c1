"""The reference page of the checks, written from the checks themselves."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from inspector.auditing.catalogue import find_builtin_checks
from inspector.auditing.limits import Limit
from inspector.auditing.needs import NEEDS
from inspector.auditing.registry import PACKAGE, Check
from inspector.errors import one_line

COMMAND = "python docs/scripts/checks.py"
"""Writes the page and the schema of the policy anew."""

SCHEMA = "https://onnx-inspector.github.io/onnx-inspector/schemas/policy.schema.json"
"""Where the documentation has the schema of the policy."""

_HEAD = f"""# Checks of the audit

Every check of `inspector audit`, with what it means, what it needs, what may be set in the policy, and what to do when
it finds something. `inspector audit --init` writes all settings into a file. An editor that knows JSON schemas checks a
policy while it is written; for Even Better TOML, its first line is
`#:schema {SCHEMA}`.

This page is written by `{COMMAND}`; do not edit it by hand.

In the policy a check is a table of its own, such as `[checks.accuracy]`. Each takes `on` (true or false), `severity`
(`error` or `warning`) and `required` (true: that it could not run is then a failure) besides the settings below. Where
the default is `none`, it is measured and not judged.
"""


def write_checks_page() -> str:
    """The page in Markdown: a section for each family, a part for each check."""
    checks = find_builtin_checks()
    families = list(dict.fromkeys(check.family for check in checks.values()))
    lines = [_HEAD, "| family | checks |", "|---|---|"]
    for family in families:
        links = ", ".join(f"[{id}](#{id})" for id, check in checks.items() if check.family == family)
        lines.append(f"| [{family}](#{family}) | {links} |")
    for family in families:
        lines += ["", f"## {family}", "", one_line(import_module(f"{PACKAGE}.{family}").__doc__ or "")]
        for check in checks.values():
            if check.family == family:
                lines += ["", *_write_check(check)]
    return "\n".join(lines) + "\n"


def _write_check(check: Check) -> Iterator[str]:
    yield f"### {check.id}"
    yield ""
    yield f"**{check.title}.** {_escape(check.help)}"
    yield ""
    yield f"- Severity: {check.severity}{'' if check.on else ', turned off by default'}"
    yield f"- Needs: {', '.join(NEEDS[need] for need in check.needs) or 'the model alone'}"
    if check.asked_by is not None:
        yield f"- Asked for by {NEEDS[check.asked_by]}: that it could not run is then a failure"
    yield f"- What to do: {check.remedy}"
    if check.limits:
        yield ""
        yield "| setting | default | unit | allowed | what it sets |"
        yield "|---|---|---|---|---|"
        yield from (_write_limit(name, limit) for name, limit in check.limits.items())


def _write_limit(name: str, limit: Limit) -> str:
    default = "none" if limit.default is None else str(limit.default).lower()
    words = limit.describe() + (", or `none`" if limit.may_be_none else "")
    return f"| `{name}` | {default} | {limit.unit} | {words} | {_escape(limit.meaning)} |"


def _escape(text: str) -> str:
    """Text whose signs mean nothing to Markdown: formulas have bars and underscores, code in backticks stays."""
    parts = text.split("`")
    parts[::2] = [part.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_") for part in parts[::2]]
    return "`".join(parts)
