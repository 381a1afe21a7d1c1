"""Cameras, files, streams and folders: what they give, and what they say when they are lost."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspector.errors import UsageError
from inspector.serving.frames import Frame, Slot
from inspector.serving.reader import SourceReader
from inspector.serving.sources import SourceLost, open_source
from inspector.serving.sources.camera import CameraSource
from inspector.serving.sources.decoding import turn_upright
from inspector.serving.sources.stream import StreamSource
from tests.conftest import require
from tests.serving.conftest import paint
from tests.serving.rtsp import Door

require("av")


def wait_until(condition: object, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_video_gives_every_frame_as_it_is(video: Path) -> None:
    frames = list(open_source(str(video)).frames())
    assert len(frames) == 12
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.pixels, paint(number))
        assert frame.place == pytest.approx(number / 25, abs=0.002)


def test_without_times_frames_are_counted(tmp_path: Path) -> None:
    """A bare stream of MPEG-4 frames says how many there are a second, and of no frame when it is."""
    av = require("av")
    with av.open(str(tmp_path / "bare.h264"), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(paint(number), format="rgb24")))
        container.mux(stream.encode(None))
    places = [frame.place for frame in open_source(str(tmp_path / "bare.h264")).frames()]
    assert places == pytest.approx([n / 25 for n in range(6)])


def test_a_folder_gives_what_can_be_opened_by_name(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        Image.fromarray(paint(ord(name[0]))).save(tmp_path / name)
    (tmp_path / "c.png").write_bytes(b"no picture")
    frames = list(open_source(str(tmp_path)).frames())
    assert [frame.name for frame in frames] == ["a.png", "b.png"]
    np.testing.assert_array_equal(frames[0].pixels, paint(ord("a")))


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "video2").touch()
    with pytest.raises(SourceLost, match=r"no .*video7.*there are: camera:2"):
        CameraSource(7, tmp_path / "devices").check()
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceLost, match="holds no pictures"):
        open_source(str(tmp_path / "empty"))
    with pytest.raises(SourceLost, match="there is no file"):
        open_source(str(tmp_path / "nothing.mp4"))
    Image.fromarray(paint(0)).save(tmp_path / "one.png")
    with pytest.raises(UsageError, match=r"one\.png is a picture, not a video.*give the folder"):
        open_source(str(tmp_path / "one.png"))
    for given in ("camera:x", "http://camera.local/1"):
        with pytest.raises(UsageError, match=r"is no source.*camera:N, a video file"):
            open_source(given)


def test_a_file_that_names_other_files_is_no_video(video: Path, tmp_path: Path) -> None:
    """A playlist would let a file from anywhere read what lies beside it, or ask the network."""
    playlist = tmp_path / "innocent.mp4"
    playlist.write_text(f"#EXTM3U\n#EXTINF:3,\n{video}\n#EXT-X-ENDLIST\n")
    with pytest.raises(SourceLost, match=r"innocent\.mp4 cannot be read"):
        open_source(str(playlist))


def test_nobody_sees_the_password_of_a_stream() -> None:
    source = StreamSource("rtsp://anna:se/cret@127.0.0.1:9/door?key=1")
    assert "cret" not in repr(source)
    assert source.name == "rtsp://***@127.0.0.1:9/door?***"
    for hidden in ("anna:s@e/cret@door/1", "anna:s?e/cret@door/1", "door/1?key=se@cret", "door/1?cret"):
        assert "cret" not in StreamSource(f"rtsp://{hidden}").name
        with pytest.raises(UsageError, match="is no source") as refused:
            open_source(f"rtmp://{hidden}")
        assert "cret" not in str(refused.value)
    source = StreamSource("rtsp://anna:secret@127.0.0.1:9/door?key=1")
    source.check()
    with pytest.raises(SourceLost) as caught:
        list(source.frames())
    assert str(caught.value).startswith("rtsp://***@127.0.0.1:9/door?*** cannot be read: Connection refused")
    with pytest.raises(UsageError, match="is no address"):
        StreamSource("rtsp:///x").check()


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_stream_is_read_until_it_is_cut_or_gives_nothing_more(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inspector.serving.sources.stream._READ", 1.0)
    for cut in (True, False):
        door = Door(transport)
        try:
            frames = StreamSource(door.address).frames()
            first = [next(frames) for _ in range(4)]
            np.testing.assert_allclose([frame.place for frame in first], [0, 0.05, 0.1, 0.15], atol=0.03)
            # The square has its color where it is, as far as H.264 keeps colors.
            reds = [np.flatnonzero(frame.pixels[16, :, 0] > 140) for frame in first]
            assert all(14 <= len(red) <= 18 for red in reds), reds
            assert np.diff([red.min() for red in reds]) % 48 == pytest.approx(3, abs=1)
            assert door.asked.count("SETUP") == {"tcp": 1, "udp": 2}[transport], "TCP is asked for first"
            if cut:
                door.switch_off()
            else:
                door.stuck.set()
            with pytest.raises(SourceLost, match=r"/door (ended|cannot be read: )"):
                list(frames)
        finally:
            door.switch_off()


def test_a_quarter_turn() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    np.testing.assert_array_equal(turn_upright(pixels, -90), np.rot90(pixels, 3))
    assert turn_upright(pixels, 0) is pixels


def test_what_is_newer_takes_the_place_of_what_was_not_fetched() -> None:
    slot: Slot[int] = Slot()
    for value in (1, 2, 3):
        slot.put(value)
    assert slot.take(0) == 3
    assert slot.take(0) is None
    assert slot.dropped == 2
    assert slot.put_in_turn(4, lambda: False)
    assert not slot.put_in_turn(5, lambda: True)
    slot.close()
    assert slot.take(1) == 4


def test_once_leaves_no_frame_out(video: Path) -> None:
    reader = SourceReader(open_source(str(video)), once=True)
    reader.start()
    seen = []
    while (frame := reader.slot.take(5)) is not None:
        time.sleep(0.002)
        seen.append(frame.place)
    reader.join(5)
    assert len(seen) == 12
    assert reader.slot.dropped == 0
    assert reader.state.ended
    assert reader.state.size == (64, 48)


def test_a_file_plays_at_its_pace_and_again(video: Path) -> None:
    """A reader that is quicker than the network drops frames, as a camera does; half a second of video repeats."""
    reader = SourceReader(open_source(str(video)))
    began = time.monotonic()
    reader.start()
    wait_until(lambda: reader.state.frames > 14)
    assert time.monotonic() - began > 0.4
    reader.stop()
    reader.join(5)
    assert not reader.is_alive()
    assert reader.slot.dropped > 5


@dataclass
class Flaky:
    """Two frames, then nothing; the second time it is not there; the third time all is well."""

    name: str = "flaky"
    ends: bool = False
    opened: list[float] = field(default_factory=list)

    def check(self) -> None:
        """It is there."""

    def frames(self) -> Generator[Frame, None, None]:
        """Fail in turn."""
        self.opened.append(time.monotonic())
        if len(self.opened) not in (2, 3):
            yield from (Frame(paint(n), time.time()) for n in range(2))
        if len(self.opened) < 4:
            raise SourceLost("flaky was unplugged")
        while True:
            time.sleep(0.005)
            yield Frame(paint(0), time.time())


def test_a_lost_source_is_told_and_tried_again_with_growing_pauses() -> None:
    source = Flaky()
    reader = SourceReader(source, first_pause=0.05)
    reader.start()
    wait_until(lambda: reader.state.lost)
    assert reader.state.lost == "flaky was unplugged"
    assert reader.state.again > 0
    wait_until(lambda: len(source.opened) == 4 and not reader.state.lost)
    assert reader.state.tries == 0
    pauses = np.diff(source.opened)
    assert pauses[1] > 0.09
    assert pauses[2] > 0.19
    reader.stop()
    reader.join(5)
    assert not reader.is_alive()
