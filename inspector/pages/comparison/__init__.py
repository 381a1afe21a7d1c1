"""The page of `inspector compare`: two networks side by side, in one file."""

from inspector.pages.comparison.collect import write_comparison

__all__ = ["write_comparison"]
