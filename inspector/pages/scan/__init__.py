"""The page of `inspector scan`: the channels of a network with their best patches, and the pictures of a set."""

from inspector.pages.scan.page import write_scan_page
from inspector.pages.scan.patterns import Patterns, find_drawn_patterns

__all__ = ["Patterns", "find_drawn_patterns", "write_scan_page"]
