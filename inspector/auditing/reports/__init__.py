"""One result, five reports: a table for the terminal, JSON, JUnit XML, SARIF and Markdown."""

from __future__ import annotations

import os
from contextlib import suppress

from inspector.auditing.reports.document import make_document
from inspector.auditing.reports.junit import format_junit
from inspector.auditing.reports.markdown import append_summary, format_markdown
from inspector.auditing.reports.sarif import format_sarif
from inspector.auditing.reports.table import format_table
from inspector.auditing.result import Audit
from inspector.errors import OutputError

ReportFile = str | os.PathLike[str] | None


def write_reports(
    audit: Audit, *, junit: ReportFile = None, sarif: ReportFile = None, markdown: ReportFile = None
) -> None:
    """Write the reports that have a file, and append the Markdown to $GITHUB_STEP_SUMMARY where that is set.

    A report that cannot be written does not keep the others back.

    Args:
        audit: The result.
        junit: The file for JUnit XML.
        sarif: The file for SARIF 2.1.0.
        markdown: The file for Markdown.

    Raises:
        OutputError: One could not be written; it tells the first of them, when all are through.
    """
    from inspector.files import write_text

    first: Exception | None = None
    for file, report in ((junit, format_junit), (sarif, format_sarif), (markdown, format_markdown)):
        try:
            if file is not None:
                write_text(file, report(audit))
        except Exception as error:  # also whatever a project's own check has put into the result
            first = first or error
    try:
        append_summary(format_markdown(audit))
    except Exception as error:
        first = first or error
    if first is not None:
        if isinstance(first, OutputError):
            raise first
        raise OutputError(f"a report cannot be written: {type(first).__name__}: {first}") from first


def check_targets(*files: ReportFile) -> None:
    """Raise OutputError where one of these files cannot be written; nothing is left behind or changed."""
    from inspector.files import atomic_path

    for file in files:
        if file is not None:
            with suppress(_Tried), atomic_path(file):
                raise _Tried


class _Tried(Exception):
    """Leaves atomic_path without a file."""


__all__ = [
    "append_summary",
    "check_targets",
    "format_junit",
    "format_markdown",
    "format_sarif",
    "format_table",
    "make_document",
    "write_reports",
]
