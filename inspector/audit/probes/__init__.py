"""What watches the pictures go by, once, and keeps only sums: checks read the sums afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from inspector.audit.subject import Sight, Subject


class Probe:
    """Watches every picture of an audit. Its memory must not grow with their number (beyond a few bytes each).

    layers: whether it needs the layers' values; without one that does, only the scores are computed.
    The constructor may raise NotChecked: then the checks that need this probe are not run, for that reason.
    """

    layers: ClassVar[bool] = False

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    def needs_layers(self, index: int) -> bool:
        """Whether it needs the layers' values of the picture with this place in the set."""
        return self.layers

    def look(self, sight: Sight) -> None:
        """Take in one picture. The arrays of `sight` belong to the run and must not be kept."""
        raise NotImplementedError


__all__ = ["Probe"]
