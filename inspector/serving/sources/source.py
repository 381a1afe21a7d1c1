"""What a source of pictures is, and what it says when it is lost."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

from inspector.errors import InspectorError
from inspector.serving.frames import Frame


class SourceLost(InspectorError):
    """A source gives no pictures: it is not there, it ended where it should not, or it does not answer."""

    kind = "source"


class FrameSource(Protocol):
    """Where pictures come from."""

    @property
    def name(self) -> str:
        """What people are shown: no password is in it."""

    @property
    def ends(self) -> bool:
        """Whether it has an end, as a file has. Of a camera an end is a loss."""

    def check(self) -> None:
        """Look whether it is there, before anything else begins.

        Raises:
            SourceLost: It is not.
            MissingExtra: What reads it is not installed.
        """

    def frames(self) -> Generator[Frame, None, None]:
        """Open it and give its pictures as they come, until it ends.

        Raises:
            SourceLost: There are none, or no more.
        """
