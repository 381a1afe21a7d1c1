"""The page of `inspector report --live`: the network and what runs it inside one file, which opens from disk."""

from inspector.pages.live.page import write_live_page

__all__ = ["write_live_page"]
