"""The one thread that computes: it takes the newest frame, looks at it, and gives everybody what he watches."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from inspector.errors import InspectorError, one_line
from inspector.serving.attached import FileMap
from inspector.serving.drift import DriftWatch
from inspector.serving.frames import Frame
from inspector.serving.hub import Hub, WatcherTurn
from inspector.serving.load import LoadMeter
from inspector.serving.look import FrameFindings, FrameMap, Looker
from inspector.serving.messages import (
    MessagePart,
    build_message,
    encode_layer,
    encode_map,
    encode_picture,
    encode_plane,
)
from inspector.serving.pace import PicturePace, SheetPace
from inspector.serving.reader import SourceReader
from inspector.serving.record import FrameRecorder
from inspector.serving.views import join_views

IDLE_PAUSE = 0.5
"""Seconds between two frames while nobody watches and nothing else wants them."""
_QUIET = 1.0
"""Seconds without a frame after which pages are told how the source is."""
_HISTORY, _EVERY = 600, 0.5
"""Moments that are kept for pages that come later, and the seconds between them."""


@dataclass
class FrameCounts:
    """What was done so far.

    Attributes:
        frames: Frames that the network looked at.
        began: When it began, in seconds of the monotonic clock.
    """

    frames: int = 0
    began: float = field(default_factory=time.monotonic)
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=32), repr=False)

    def count(self) -> None:
        """One more frame, now."""
        self.frames += 1
        self.recent.append(time.monotonic())

    @property
    def rate(self) -> float:
        """Frames a second, over the last few."""
        span = self.recent[-1] - self.recent[0] if len(self.recent) > 1 else 0.0
        return (len(self.recent) - 1) / span if span else 0.0


@dataclass(frozen=True)
class FrameExtras:
    """What is done with frames besides showing them.

    Attributes:
        drift: Holds them against a snapshot.
        recorder: Keeps some of them.
    """

    drift: DriftWatch | None = None
    recorder: FrameRecorder | None = None

    def tell_record(self) -> dict[str, Any] | None:
        """How many frames were kept, for a page; None where none are to be."""
        if self.recorder is None:
            return None
        return {"kept": self.recorder.kept, "trouble": self.recorder.trouble}


NO_EXTRAS = FrameExtras()


class LiveEngine(threading.Thread):
    """Looks at the frames of a reader until there are no more.

    Args:
        looker: The network.
        reader: Gives the frames.
        hub: Those who watch.
        extras: What else is done with every frame.
        on_end: Called when it ends, in its thread.

    Attributes:
        error: What ended it; None where nothing did.
        pictures: Chooses the frames that pages are shown.
    """

    def __init__(
        self,
        looker: Looker,
        reader: SourceReader,
        hub: Hub,
        extras: FrameExtras = NO_EXTRAS,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name="inspector engine", daemon=True)
        self.looker, self.reader, self.hub, self.extras = looker, reader, hub, extras
        self.counts = FrameCounts()
        self.error: InspectorError | None = None
        self.history: deque[dict[str, Any]] = deque(maxlen=_HISTORY)
        self._on_end = on_end
        self._meter = LoadMeter()
        self.pictures = PicturePace()
        self._pace = SheetPace()
        self._remembered = 0.0
        self._told = time.monotonic()

    def run(self) -> None:
        """Look at every frame that comes, until the source ended or was stopped."""
        try:
            while True:
                frame = self.reader.slot.take(0.2)
                if frame is not None:
                    began = time.monotonic()
                    shown = self.pictures.is_due(began)
                    self.take(self._look(frame, shown), shown)
                    self._rest(began)
                elif self.reader.state.ended or self.reader.stopped:
                    break
                elif time.monotonic() - self._told > _QUIET:
                    self._tell_state()
        except InspectorError as error:
            self.error = error
        except Exception as error:
            # In a thread nobody else would see it, and the end would look like the end of the source.
            self.error = InspectorError(
                f"a frame cannot be dealt with: {type(error).__name__}: {one_line(str(error), 120)}"
            )
        finally:
            try:
                self._tell_state()
            finally:
                self._on_end()

    def _look(self, frame: Frame, shown: bool) -> FrameFindings:
        """Look at a frame, for those who watch where it is shown, and measure its drift where it is due."""
        drift, wanted = self.extras.drift, join_views(self.hub.views)
        # A file that is gone through as quickly as it goes has a clock of its own.
        when = frame.place if self.reader.once else time.monotonic()
        due = drift is not None and drift.is_due(when)
        seen = self.looker.look(frame, wanted, drift.layers if drift is not None and due else (), shown)
        answer = seen.answer
        # The snapshot's probabilities are those of the scores as they are.
        sure = answer.confidence if answer.unscaled is None else answer.unscaled
        reading = drift.measure(when, seen.values, sure) if drift is not None and due else None
        if self.extras.recorder is not None:
            self.extras.recorder.consider(seen, reading)
        return seen

    def take(self, seen: FrameFindings, shown: bool = True) -> None:
        """Count what was found on a frame, remember it, and give it to those who watch where it is shown."""
        self.counts.count()
        now = time.time()
        answers = {key: seen.answer.about[key] for key in ("top", "boxes", "segments") if key in seen.answer.about}
        if now - self._remembered >= _EVERY:
            self._remembered = now
            drift = self.extras.drift.reading if self.extras.drift is not None else None
            told = {"drift": min(drift.ratio, 1e6)} if drift is not None else {}
            self.history.append({"time": now, "confidence": seen.answer.confidence, **told, **_shorten(answers)})
        tick = self._pace.advance(time.monotonic(), seen.processor)
        turns = self.hub.choose_ready(tick) if shown else ()
        if turns:
            head = {**self.tell(), "time": now, "answer": seen.answer.about, "name": seen.frame.name}
            head |= {"place": seen.frame.place, "network": seen.seconds, "latency": now - seen.frame.taken}
            self.hub.publish(dict(self._build(seen, head, turns)), tick)
            self._told = time.monotonic()

    def _build(
        self, seen: FrameFindings, head: dict[str, Any], turns: Iterable[WatcherTurn]
    ) -> Iterable[tuple[WatcherTurn, bytes]]:
        """The message of each turn. What several show is encoded once."""
        common = [encode_picture(seen.picture)]
        if seen.answer.plane is not None:
            common.append(encode_plane(seen.answer.plane))
        made: dict[object, MessagePart] = {}
        for turn in turns:
            view, parts, told = turn.view, list(common), dict(head)
            if view.target is not None:
                result = seen.maps.get(view.target)
                if result is not None and not isinstance(result, InspectorError):
                    key = ("map", view.target)
                    made[key] = made.get(key) or self._encode_map(result, seen)
                    parts.append(made[key])
                else:
                    told["no_map"] = result.message if result is not None else "the next frame has it"
            if turn.sheet and view.layer is not None and view.layer in seen.layers:
                made[view.layer] = made.get(view.layer) or self._encode_layer(seen, view.layer)
                parts.append(made[view.layer])
            yield turn, build_message(told, parts)

    def _encode_layer(self, seen: FrameFindings, name: str) -> MessagePart:
        began = time.thread_time()
        made = encode_layer(seen.layers[name], name)
        self._pace.pay(time.thread_time() - began)
        return made

    def _encode_map(self, result: FrameMap, seen: FrameFindings) -> MessagePart:
        size = seen.picture.size
        about = {
            "class": {"index": result.target.index, "label": result.target.label},
            "method": result.method,
            "layer": result.layer,
            "empty": result.empty,
            "attached": result.attached,
            "saliency": isinstance(result, FileMap) and result.saliency,
        }
        return encode_map(result.heatmap, self.looker.model.preprocess.box(size), size, about)

    def tell(self) -> dict[str, Any]:
        """How everything is, apart from what is seen."""
        state, load = self.reader.state, self._meter.measure()
        drift = self.extras.drift.reading if self.extras.drift is not None else None
        return {
            "frame": self.counts.frames,
            "rate": self.counts.rate,
            "source": {
                "lost": state.lost,
                "again": max(0.0, state.again - time.time()) if state.lost else 0.0,
                "tries": state.tries,
                "frames": state.frames,
                "size": list(state.size),
                "rate": state.rate,
                "ended": state.ended,
                "dropped": self.reader.slot.dropped,
            },
            "load": vars(load),
            "watchers": len(self.hub.watchers),
            "drift": drift.tell() if drift is not None else None,
            "record": self.extras.tell_record(),
        }

    def _tell_state(self) -> None:
        self._told = time.monotonic()
        message = build_message({**self.tell(), "time": time.time()})
        self.hub.publish(dict.fromkeys(self.hub.choose_ready(self._pace.tick), message), -1)

    def _rest(self, began: float) -> None:
        """While nobody watches, two frames a second are enough for the answers over time."""
        if not self.reader.once and self.extras.recorder is None and not self.hub.watchers:
            while not self.reader.stopped and not self.hub.watchers and time.monotonic() - began < IDLE_PAUSE:
                time.sleep(0.02)


def _shorten(answers: dict[str, Any]) -> dict[str, Any]:
    """What is remembered of an answer: names and numbers, no places."""
    kept = ("index", "label", "probability", "score", "share")
    return {key: [{k: v for k, v in one.items() if k in kept} for one in found[:5]] for key, found in answers.items()}
