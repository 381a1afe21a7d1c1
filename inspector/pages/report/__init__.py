"""The page of `inspector report`: what it shows, collected and put into one file."""

from inspector.pages.report.collect import PAGE_METHODS, PicturePart, Report, write_report

__all__ = ["PAGE_METHODS", "PicturePart", "Report", "write_report"]
