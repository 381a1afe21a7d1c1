"""One picture of a source, and the place where the newest of them waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a source.

    Attributes:
        pixels: uint8 (H, W, 3), red, green, blue, upright.
        taken: When it was taken or read, in seconds since 1970.
        place: Seconds since the first frame, as the source counts them.
        name: Of the file, where each picture is one; else empty.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    taken: float
    place: float = 0.0
    name: str = ""


class Slot(Generic[T]):
    """A place for one thing, from one thread to another. What is newer takes the place of what was not fetched.

    Attributes:
        dropped: Things whose place was taken before they were fetched.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._value: T | None = None
        self._closed = False
        self._changed = threading.Condition()

    def put(self, value: T) -> None:
        """Lay the newest there."""
        with self._changed:
            self.dropped += self._value is not None
            self._value = value
            self._changed.notify_all()

    def put_in_turn(self, value: T, stopped: Callable[[], bool]) -> bool:
        """Wait until the one before was fetched, so that none is left out; False where `stopped` says so before."""
        with self._changed:
            while self._value is not None:
                if stopped() or self._closed:
                    return False
                self._changed.wait(0.2)
            self._value = value
            self._changed.notify_all()
            return True

    def take(self, seconds: float) -> T | None:
        """Fetch what is there, or what comes within some seconds; None where nothing does."""
        with self._changed:
            if self._value is None and not self._closed:
                self._changed.wait(seconds)
            value, self._value = self._value, None
            self._changed.notify_all()
            return value

    def close(self) -> None:
        """Nobody waits any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def empty(self) -> bool:
        """Whether nothing waits to be fetched."""
        return self._value is None
