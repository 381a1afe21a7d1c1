"""How many pictures came by."""

from __future__ import annotations

from inspector.audit.probes import Probe
from inspector.audit.subject import Sight, Subject


class Reader(Probe):
    """seen: pictures that could be opened. Those that could not are in `subject.unreadable`."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        subject.need_pictures()
        self.seen = 0

    def look(self, sight: Sight) -> None:
        """Take in one picture."""
        self.seen += 1
