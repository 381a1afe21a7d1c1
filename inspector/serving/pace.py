"""How often channels are sent, which are the largest part of a message."""

from __future__ import annotations

MOST = 10
"""Times a second, whatever it costs."""

SHARE = 0.04
"""Of the time that looking at frames takes, for the encoding of channels; all that are watched together."""


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
