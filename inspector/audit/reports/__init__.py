"""One result, five reports: a table for the terminal, JSON, JUnit XML, SARIF and Markdown."""

from __future__ import annotations

import os

from inspector.audit.reports.document import audit_document
from inspector.audit.reports.junit import junit_report
from inspector.audit.reports.markdown import append_summary, markdown_report
from inspector.audit.reports.sarif import sarif_report
from inspector.audit.reports.table import table_report
from inspector.audit.result import Audit

File = str | os.PathLike[str] | None


def write_reports(audit: Audit, *, junit: File = None, sarif: File = None, markdown: File = None) -> None:
    """Write the reports that have a file, and append the Markdown to $GITHUB_STEP_SUMMARY where that is set.

    Raises OutputError.
    """
    from inspector.output import write_text

    for file, report in ((junit, junit_report), (sarif, sarif_report), (markdown, markdown_report)):
        if file is not None:
            write_text(file, report(audit))
    append_summary(markdown_report(audit))


__all__ = [
    "append_summary",
    "audit_document",
    "junit_report",
    "markdown_report",
    "sarif_report",
    "table_report",
    "write_reports",
]
