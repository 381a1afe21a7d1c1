"""What watches the pictures go by, once, and keeps only sums: checks read the sums afterwards."""

from __future__ import annotations

from typing import ClassVar

from inspector.auditing.forward_pass import ForwardPass
from inspector.auditing.needs import Need
from inspector.auditing.subject import Subject


class Probe:
    """Watches every picture of an audit. Its memory must not grow with their number (beyond a few bytes each).

    The constructor may raise NotChecked: then the checks that need this probe are not run, for that reason.

    Attributes:
        layers: Whether it needs the layers' values; without a probe that does, only the scores are computed.
        needs: What it cannot work without, in the order in which it is told.
        needs_readable: Whether checks that read it mean nothing where no picture could be opened.
        settled: Whether a scan told all that it is for, so that it need not look at pictures.
    """

    layers: ClassVar[bool] = False
    needs: ClassVar[tuple[Need, ...]] = ()
    needs_readable: ClassVar[bool] = True
    settled: bool = False

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        subject.need(*self.needs)

    def needs_layers(self, index: int) -> bool:
        """Whether it needs the layers' values of the picture with this place in the set."""
        return self.layers

    def look(self, forward: ForwardPass) -> None:
        """Take in one picture. The arrays of `forward` belong to the run and must not be kept."""
        raise NotImplementedError


__all__ = ["Probe"]
