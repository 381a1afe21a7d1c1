"""From the one thread that computes to all who watch: each has room for one message, the newest."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from inspector.errors import UsageError
from inspector.serving.views import LiveView

MOST_WATCHERS = 64
"""Pages that are served at a time."""

ASLEEP = 5.0
"""Seconds after which a page that fetches nothing counts for nothing: what only it wants is not computed."""


@dataclass(frozen=True)
class WatcherTurn:
    """What one page gets next.

    Attributes:
        view: What it shows.
        sheet: Whether the channels of its layer are due.
    """

    view: LiveView
    sheet: bool = True


@dataclass(eq=False)
class Watcher:
    """One page that watches.

    Attributes:
        view: What it shows.
        sent: Messages that it fetched.
        dropped: Messages that it did not fetch before the next one came.
        turn: What it gets next.
    """

    view: LiveView
    sent: int = 0
    dropped: int = 0
    turn: WatcherTurn = field(init=False)
    _message: bytes | None = field(default=None, repr=False)
    _tick: int = -1
    _carried: int = -1
    _closed: bool = False
    _fetched: float = field(default_factory=time.monotonic, repr=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def __post_init__(self) -> None:
        self.turn = WatcherTurn(self.view)

    async def fetch(self) -> bytes | None:
        """Wait for the newest message; None when there is no more."""
        self._fetched = time.monotonic()
        while self._message is None and not self._closed:
            self._changed.clear()
            await self._changed.wait()
            self._fetched = time.monotonic()
        message, self._message = self._message, None
        self.sent += message is not None
        self._tick = max(self._tick, self._carried)
        return message

    @property
    def ready(self) -> bool:
        """Whether it has fetched all that it was given."""
        return self._message is None

    @property
    def awake(self) -> bool:
        """Whether it fetches anything."""
        return self._message is None or time.monotonic() - self._fetched < ASLEEP

    def plan(self, tick: int) -> WatcherTurn:
        """Say what it gets next; `tick` counts the moments at which channels are due."""
        self.turn = WatcherTurn(self.view, self.view.layer is not None and tick != self._tick)
        return self.turn

    def give(self, message: bytes, tick: int = -1) -> None:
        """Lay the newest message there; `tick` is that of the channels in it."""
        self.dropped += self._message is not None
        self._message, self._carried = message, tick
        self._changed.set()

    def close(self) -> None:
        """Let it go."""
        self._closed = True
        self._changed.set()


class Hub:
    """All who watch. They come and go in the thread of the event loop, and messages come from any other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watchers: set[Watcher] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def join(self, view: LiveView) -> Watcher:
        """Let a page watch; in the thread of the event loop.

        Raises:
            UsageError: Too many watch already.
        """
        watcher = Watcher(view)
        with self._lock:
            self._loop = asyncio.get_running_loop()
            if len(self._watchers) >= MOST_WATCHERS:
                raise UsageError(f"{MOST_WATCHERS} pages watch already", "close some of them")
            self._watchers.add(watcher)
            if self._closed:
                watcher.close()
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """A page watches no more."""
        with self._lock:
            self._watchers.discard(watcher)

    @property
    def watchers(self) -> tuple[Watcher, ...]:
        """Who watches."""
        with self._lock:
            return tuple(self._watchers)

    @property
    def views(self) -> frozenset[LiveView]:
        """The views of all who fetch what they are given."""
        return frozenset(watcher.view for watcher in self.watchers if watcher.awake)

    def choose_ready(self, tick: int) -> frozenset[WatcherTurn]:
        """What those who wait get next. Those who are still busy with the last message miss this one.

        Args:
            tick: Counts the moments at which channels are due.
        """
        turns = {watcher: watcher.plan(tick) for watcher in self.watchers}
        ready = frozenset(turn for watcher, turn in turns.items() if watcher.ready)
        for watcher, turn in turns.items():
            watcher.dropped += turn not in ready
        return ready

    def publish(self, messages: Mapping[WatcherTurn, bytes], tick: int) -> None:
        """Give everybody the message of his turn, from any thread; returns at once."""
        loop = self._loop
        if messages and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._hand_out, messages, tick)

    def _hand_out(self, messages: Mapping[WatcherTurn, bytes], tick: int) -> None:
        for watcher in self.watchers:
            if (message := messages.get(watcher.turn)) is not None:
                watcher.give(message, tick if watcher.turn.sheet else -1)

    def close(self) -> None:
        """Let everybody go; in the thread of the event loop."""
        with self._lock:
            self._closed = True
        for watcher in self.watchers:
            watcher.close()
