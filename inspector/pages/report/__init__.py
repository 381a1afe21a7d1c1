"""The page of `inspector report`: what it shows, collected and put into one file."""

from inspector.pages.report.collect import PicturePart, Report, write_report
from inspector.pages.report.evidence import PAGE_METHODS

__all__ = ["PAGE_METHODS", "PicturePart", "Report", "write_report"]
