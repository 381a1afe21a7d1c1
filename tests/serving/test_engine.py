"""What is computed for those who watch: once for all of them, and nothing that nobody watches."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspector.cam import prepare_maps
from inspector.errors import ClassNotFound, LayerNotFound, UsageError
from inspector.model import Model
from inspector.render.scale import make_palette, to_indices
from inspector.serving.engine import LiveEngine
from inspector.serving.frames import Frame
from inspector.serving.hub import Hub, Watcher, WatcherTurn
from inspector.serving.look import Looker
from inspector.serving.messages import encode_layer, encode_map, encode_picture, fit_side, read_message
from inspector.serving.pace import PicturePace, SheetPace
from inspector.serving.reader import SourceReader
from inspector.serving.sources.folder import FolderSource
from inspector.serving.views import LiveView, Wanted, join_views, read_view
from tests.serving.conftest import paint


def make_frame(number: int = 0) -> Frame:
    return Frame(paint(number), time.time())


def test_all_that_is_watched_takes_one_run(net: Model) -> None:
    looker = Looker(net)
    wanted = Wanted(("c1", "r2"), (1, "best"))
    looker.look(make_frame(), wanted)
    before = looker.sessions.runs
    for number in range(3):
        seen = looker.look(make_frame(number), wanted)
    assert looker.sessions.runs - before <= 3 + 1, "one run a frame, and one more when the map's own layer is known"
    assert len(looker.sessions._kept) == 1

    picture = Image.fromarray(paint(2))
    assert seen.answer.best == net.predict(picture)[0].index
    assert seen.answer.confidence == pytest.approx(net.predict(picture)[0].probability)
    np.testing.assert_allclose(seen.layers["c1"], net.activations(picture, "c1")["c1"][0], rtol=1e-5, atol=1e-6)
    for target, result in seen.maps.items():
        [own] = prepare_maps(net).maps(picture, None if target == "best" else [target])
        np.testing.assert_allclose(result.heatmap, own.heatmap, atol=1e-5)  # type: ignore[union-attr]


def test_nothing_is_computed_that_nobody_watches(net: Model) -> None:
    looker = Looker(net)
    seen = looker.look(make_frame(), Wanted())
    assert looker.maps_made == 0
    assert not seen.maps
    assert not seen.layers
    assert looker.sessions.plan == ("scores",), "the graph is cut to the scores"
    looker.look(make_frame(), Wanted(("r1",), ()))
    assert set(looker.sessions.plan) == {"scores", "r1"}
    assert looker.maps_made == 0


def test_a_message_holds_what_a_view_shows(net: Model) -> None:
    seen = Looker(net).look(make_frame(), Wanted(("c1",), (2,)))
    maps = seen.layers["c1"]
    part = encode_layer(maps, "c1")
    sheet = np.asarray(Image.open(io.BytesIO(part.data)).convert("RGB"))
    colors = np.frombuffer(make_palette(), np.uint8).reshape(256, 3)
    h, w = part.about["tile"]
    for channel, expected in enumerate(to_indices(maps).indices // 4 * 4):
        row, column = divmod(channel, part.about["across"])
        tile = sheet[row * h : (row + 1) * h, column * w : (column + 1) * w]
        np.testing.assert_array_equal(tile, colors[expected])
    large = encode_layer(np.ones((64, 200, 200), np.float32), "large")
    assert np.prod(Image.open(io.BytesIO(large.data)).size) < 500_000

    result = seen.maps[2]
    part = encode_map(result.heatmap, (0, 0, 64, 48), (64, 48), {})  # type: ignore[union-attr]
    levels = np.frombuffer(part.data, np.uint8).reshape(part.about["shape"])
    np.testing.assert_allclose(levels / 255, result.heatmap, atol=0.003)  # type: ignore[union-attr]
    assert part.about["box"] == [0, 0, 1, 1]

    part = encode_picture(Image.fromarray(paint(0, (1300, 700))))
    assert Image.open(io.BytesIO(part.data)).size == (640, 345) == tuple(part.about["size"])
    assert fit_side((3, 4000)) == (1, 640)


def test_views_are_read_from_an_address_and_joined(net: Model) -> None:
    assert read_view(net, {"layer": "r1", "map": "2"}) == LiveView("c1.relu", 2)
    assert read_view(net, {"map": "best"}) == LiveView(None, "best")
    assert read_view(net, {}) == LiveView()
    for asked, error in (
        ({"layer": "zzz"}, LayerNotFound),
        ({"map": "7"}, ClassNotFound),
        ({"file": "/etc/passwd"}, UsageError),
    ):
        with pytest.raises(error):
            read_view(net, asked)
    assert join_views([LiveView("b", 3), LiveView("a", "best"), LiveView("b", 1)]) == Wanted(("a", "b"), (1, 3, "best"))


def test_a_slow_watcher_misses_frames_and_slows_nobody() -> None:
    async def watch() -> None:
        hub, view, turn = Hub(), LiveView(), WatcherTurn(LiveView(), sheet=False)
        slow, quick = hub.join(view), hub.join(view)
        for number in range(5):
            assert hub.choose_ready(0) == {turn}
            hub.publish({turn: b"%d" % number}, 0)
            await asyncio.sleep(0)
            assert await quick.fetch() == b"%d" % number
        assert slow.dropped == 4
        assert await slow.fetch() == b"4", "the newest is what it gets"
        assert quick.dropped == 0
        slow.give(b"5")
        quick.give(b"5")
        assert hub.choose_ready(0) == frozenset(), "nobody waits, so nothing is encoded"
        slow._fetched -= 60
        quick._fetched -= 60
        assert hub.views == frozenset(), "who fetches nothing for long counts for nothing"
        hub.close()
        assert await slow.fetch() == b"5"
        assert await slow.fetch() is None

    asyncio.run(watch())


def test_channels_come_as_often_as_they_may_cost() -> None:
    def count(frames: int, rate: float, spent: float, cost: float) -> int:
        pace, before = SheetPace(), 0
        for number in range(frames):
            if pace.advance(number / rate, spent) != before:
                before = pace.tick
                pace.pay(cost)
        return before

    assert 95 <= count(300, 30, 0.02, 0.0001) <= 106, "ten times a second"
    assert 18 <= count(100, 20, 0.01, 0.002) <= 26, "a twenty-fifth of the network's time"
    assert count(50, 5, 0.2, 0.002) == 50, "a slow network sends them with every frame"


@pytest.mark.parametrize(("rate", "shown"), [(5, 5), (20, 20), (25, 20), (30, 20), (50, 20), (1000, 20)])
def test_a_moving_picture_has_at_most_twenty_frames_a_second(rate: int, shown: int) -> None:
    pace = PicturePace()
    due = [pace.is_due(number / rate) for number in range(10 * rate)]
    assert sum(due) == pytest.approx(10 * shown, abs=2)
    assert pace.is_due(1000)
    assert [pace.is_due(1000 + n / 100) for n in range(1, 12)].count(True) == 2, "what is long past is not made up for"


def test_channels_come_to_all_at_once_and_to_the_slow_ones_too() -> None:
    async def watch() -> None:
        hub, view = Hub(), LiveView("c1")
        quick, slow = hub.join(view), hub.join(view)
        for number in range(20):
            tick = number // 5
            turns = hub.choose_ready(tick)
            assert len(turns) == 1 or number >= 5
            hub.publish({turn: b"sheet" if turn.sheet else b"" for turn in turns}, tick)
            await asyncio.sleep(0)
            assert (await quick.fetch() == b"sheet") == (number % 5 == 0)
        assert await slow.fetch() == b"sheet", "who fetches seldom gets them all the same"

    asyncio.run(watch())


def run_engine(
    net: Model, folder: Path, views: list[LiveView], monkeypatch: pytest.MonkeyPatch, pictures: float = float("inf")
) -> tuple[LiveEngine, list]:
    """An engine over a folder until its end, with somebody who watches each view; what each got."""
    got: list = []
    engine = LiveEngine(Looker(net), SourceReader(FolderSource(folder), once=True), Hub())
    engine.pictures = PicturePace(pictures)
    engine.hub._watchers = {Watcher(view) for view in views}
    monkeypatch.setattr(engine.hub, "publish", lambda messages, tick: got.append(messages))
    engine.reader.start()
    engine.run()
    assert engine.error is None
    return engine, got


def test_an_engine_from_the_first_frame_to_the_last(
    net: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        Image.fromarray(paint(number)).save(tmp_path / f"{number}.png")
    views = [LiveView(), LiveView("c1", "best"), LiveView(None, 2)]
    engine, got = run_engine(net, tmp_path, views, monkeypatch)
    assert engine.counts.frames == 3
    assert len(got) == 4, "three frames, and that it ended"
    head, parts = read_message(got[2][WatcherTurn(LiveView("c1", "best"))])
    assert [part["kind"] for part in head["parts"]] == ["picture", "map", "layer"]
    assert head["name"] == "2.png"
    assert head["answer"]["top"][0]["index"] == net.predict(tmp_path / "2.png")[0].index
    assert [len(part) for part in parts] == [part["bytes"] for part in head["parts"]]
    assert head["source"]["frames"] == 3
    assert head["load"]["memory"] > 1e6
    plain, [picture] = read_message(got[2][WatcherTurn(LiveView(), False)])
    assert [part["kind"] for part in plain["parts"]] == ["picture"]
    assert picture == parts[0]
    assert read_message(got[3][WatcherTurn(LiveView(), False)])[0]["source"]["ended"]
    assert len(engine.history) == 1, "two moments a second are remembered"
    assert engine.looker.maps_made >= 3

    engine, got = run_engine(net, tmp_path, views, monkeypatch, 0.001)
    assert (engine.counts.frames, len(got)) == (3, 2), "of frames that come too soon the next ones are shown"
    assert engine.looker.maps_made <= 2, "and what is not shown has no map: one of the likeliest, one of class 2"
    assert engine.looker.sessions.runs <= 3 + 2, "the network is run on every frame"


@dataclass
class Strange:
    """One picture, and then an error that nobody foresaw."""

    name: str = "strange"
    ends: bool = True

    def check(self) -> None:
        """It is there."""

    def frames(self) -> Generator[Frame, None, None]:
        """Fail after the first."""
        yield make_frame()
        raise ZeroDivisionError("of rtsp://anna:secret@door")


def test_an_error_that_nobody_foresaw_is_told(net: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []
    engine = LiveEngine(Looker(net), SourceReader(Strange()), Hub(), on_end=lambda: ended.append(True))
    engine.reader.run()
    assert engine.reader.state.ended
    assert str(engine.reader.error) == "strange cannot be read: ZeroDivisionError"
    monkeypatch.setattr(engine.looker, "look", lambda *_: {}["picture"])
    engine.run()
    assert str(engine.error) == "a frame cannot be dealt with: KeyError: 'picture'"
    assert ended == [True]


def test_what_has_no_map_says_why(make_model: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inspector.model import open_model

    path = make_model(lambda n, x: n("Relu", n.conv(x, 3, 4)), shape=(1, 3, 16, 16))  # type: ignore[operator]
    Image.fromarray(paint(0)).save(tmp_path / "0.png")
    _, got = run_engine(open_model(path, threads=1), tmp_path, [LiveView(None, "best")], monkeypatch)
    head, _ = read_message(got[0][WatcherTurn(LiveView(None, "best"), False)])
    assert "has no classes" in head["no_map"]
