"""The page of `inspector scan`: the channels of a network with their best patches, and the pictures of a set."""

from inspector.pages.scan.page import write_scan_page

__all__ = ["write_scan_page"]
