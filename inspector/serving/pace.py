"""How often pictures are sent, and channels, which are the largest part of a message."""

from __future__ import annotations

PICTURES = 20.0
"""A second at most: a moving picture. A network may be quicker, and each costs a JPEG, a map and a message."""

MOST = 10
"""Channels a second, whatever they cost."""

SHARE = 0.04
"""Of the time that looking at frames takes, for the encoding of channels; all that are watched together."""


class PicturePace:
    """Chooses the frames that pages are shown.

    Args:
        most: Frames a second, on average.
    """

    def __init__(self, most: float = PICTURES) -> None:
        self._pause = 1 / most
        self._next = float("-inf")

    def is_due(self, now: float) -> bool:
        """Whether a frame of this moment is shown; asked once for each frame.

        Args:
            now: In seconds of a clock that does not go back.
        """
        if now < self._next - 0.1 * self._pause:  # frames do not come to the millisecond
            return False
        # A frame that came late does not delay the next one, or 25 frames a second would be halved.
        self._next = (self._next if now - self._next < self._pause else now) + self._pause
        return True


class SheetPace:
    """Counts the moments at which channels are due.

    What is spent on them comes out of an account, which every frame pays into.

    Attributes:
        tick: The moments so far.
    """

    def __init__(self) -> None:
        self.tick = 0
        self._account = 0.0
        self._last = float("-inf")

    def advance(self, now: float, spent: float) -> int:
        """Take in one more frame.

        Args:
            now: Its moment, in seconds of a clock that does not go back.
            spent: Seconds of the processor that the network took for it.

        Returns:
            The moments so far: one more than before where channels are due.
        """
        self._account = min(self._account + SHARE * spent, SHARE * 10 * spent)
        if self._account >= 0 and now - self._last >= 0.95 / MOST:  # frames do not come to the millisecond
            self._last = now
            self.tick += 1
        return self.tick

    def pay(self, seconds: float) -> None:
        """Seconds of the processor that channels took."""
        self._account -= seconds
