"""How many pictures came by."""

from __future__ import annotations

from inspector.auditing.forward_pass import ForwardPass
from inspector.auditing.probes import Probe
from inspector.auditing.subject import Subject


class Reader(Probe):
    """Counts the pictures. Those that could not be opened are in `subject.unreadable`; a scan has told its own.

    Attributes:
        seen: Pictures that could be opened.
    """

    needs = ("pictures",)
    needs_readable = False

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.seen = 0
        self.settled = subject.pictures.scan is not None

    def look(self, forward: ForwardPass) -> None:
        """Take in one picture."""
        self.seen += 1
