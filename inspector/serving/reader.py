"""The thread that reads a source: the newest frame waits in a slot, and what is lost is tried again."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import dataclass

from inspector.serving.frames import Frame, Slot
from inspector.serving.sources import FrameSource, SourceLost
from inspector.serving.sources.decoding import explain

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between a loss and the next try: twice as many after each try that failed."""


@dataclass(frozen=True)
class SourceState:
    """How a source is.

    Attributes:
        lost: What it said when it was lost; empty while all is well.
        again: When the next try is, in seconds since 1970; 0 while all is well.
        tries: Tries that failed since it was there.
        frames: Frames that were read.
        size: (width, height) of the last one.
        rate: Frames a second that it gives; 0 until that is known.
        ended: It came to its end, and nothing more comes.
    """

    lost: str = ""
    again: float = 0.0
    tries: int = 0
    frames: int = 0
    size: tuple[int, int] = (0, 0)
    rate: float = 0.0
    ended: bool = False


class SourceReader(threading.Thread):
    """Reads a source until it ends or is stopped.

    Args:
        source: What is read.
        once: Of what has an end: stop there, and leave no frame out, however long each takes. Else it begins again,
            and its frames come at its own pace, as those of a camera do.
        first_pause: Seconds between a loss and the first try.

    Attributes:
        slot: Where the newest frame waits.
        error: What ended it; None where nothing did.
    """

    def __init__(self, source: FrameSource, once: bool = False, first_pause: float = FIRST_PAUSE) -> None:
        super().__init__(name="inspector source", daemon=True)
        self.source = source
        self.once = once and source.ends
        self.slot: Slot[Frame] = Slot()
        self.error: SourceLost | None = None
        self._first_pause = first_pause
        self._stop_asked = threading.Event()
        self._state = SourceState()
        self._lock = threading.Lock()

    @property
    def state(self) -> SourceState:
        """How the source is now."""
        with self._lock:
            return self._state

    @property
    def stopped(self) -> bool:
        """Whether it was asked to stop."""
        return self._stop_asked.is_set()

    def stop(self) -> None:
        """Ask it to stop; a read that waits for a camera ends when that answers, or is given up."""
        self._stop_asked.set()
        self.slot.close()

    def run(self) -> None:
        """Read until the end, or until it is asked to stop."""
        tries = 0
        while not self.stopped:
            try:
                read = self._read_through()
                tries = 0
                if self.once or self.stopped:
                    break
                if not read:
                    raise SourceLost(f"{self.source.name} gives no pictures")
                continue
            except SourceLost as error:
                if self.once:
                    self.error = error
                    break
                tries = 1 if self.state.tries == 0 else tries + 1
                self._wait_after(error, tries)
            except Exception as error:
                # In a thread nobody else would see it, and those who wait for frames would wait for ever.
                self.error = SourceLost(f"{self.source.name} cannot be read: {explain(error)}")
                break
        self._change(ended=True)
        self.slot.close()

    def _read_through(self) -> int:
        """Read the source once, from its beginning to its end: how many frames there were."""
        count, began, first = 0, time.monotonic(), time.monotonic()
        with closing(self.source.frames()) as frames:
            for frame in frames:
                if self.stopped:
                    break
                count += 1
                if count == 1:
                    began = first = time.monotonic()
                if self.source.ends and not self.once and not self._pace(began, frame.place):
                    break
                spent = time.monotonic() - first
                height, width = frame.pixels.shape[:2]
                self._change(
                    lost="", again=0.0, tries=0, frames=self.state.frames + 1, size=(width, height),
                    rate=(count - 1) / spent if spent > 0.5 else self.state.rate,
                )  # fmt: skip
                if not self.once:
                    self.slot.put(frame)
                elif not self.slot.put_in_turn(frame, lambda: self.stopped):
                    break
        return count

    def _pace(self, began: float, place: float) -> bool:
        """Wait until a frame of a file is due; False where the end came before."""
        return not self._stop_asked.wait(max(0.0, began + place - time.monotonic()))

    def _wait_after(self, error: SourceLost, tries: int) -> None:
        pause = min(self._first_pause * 2 ** min(tries - 1, 20), LONGEST_PAUSE)
        self._change(lost=str(error), again=time.time() + pause, tries=tries, rate=0.0)
        self._stop_asked.wait(pause)

    def _change(self, **values: object) -> None:
        with self._lock:
            self._state = SourceState(**{**vars(self._state), **values})
