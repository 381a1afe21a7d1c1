"""`inspector live` against a bare run of the network with decoding: cost of a frame, of more watchers, and memory.

    python tests/benchmarks/bench_live.py [--frames N] [--long N] [--rounds N]

Everything is processor time of the server's process, with one thread of onnxruntime, in blocks that take turns: a bare
loop (PyAV, Pillow, numpy and onnxruntime), and the server with nobody, one and ten who watch. Those who watch are
another process that reads as quickly as it can; what it takes is not counted. Pages are shown a moving picture with the
map on it, twenty times a second, as `inspector live` does; what it costs to show every frame is told besides.
"""

from __future__ import annotations

import argparse
import logging
import math
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import av
import numpy as np
import onnx
import onnxruntime
import uvicorn
from measure import DEFAULT_MODEL, PHOTO, report
from PIL import Image

from inspector import open_model
from inspector.model import Model
from inspector.serving.access import Gate, list_names
from inspector.serving.engine import LiveEngine
from inspector.serving.hub import Hub
from inspector.serving.live import make_server
from inspector.serving.load import measure_resident
from inspector.serving.look import Looker
from inspector.serving.pace import PICTURES, PicturePace
from inspector.serving.reader import SourceReader
from inspector.serving.sources.video import VideoSource

SIZE = (640, 480)
QUERY = "layer=blocks.5.swish&map=best"
WATCH = """
import selectors, socket, sys
chosen, count = selectors.DefaultSelector(), int(sys.argv[2])
for _ in range(count):
    one = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    one.sendall(f"GET /watch?{sys.argv[3]} HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n".encode())
    chosen.register(one, selectors.EVENT_READ)
while count:
    for key, _ in chosen.select():
        if not key.fileobj.recv(1 << 20):
            chosen.unregister(key.fileobj)
            count -= 1
"""


def write_video(path: Path, frames: int) -> Path:
    """A picture that moves under the camera, as H.264 or, where the library has none, MPEG-4."""
    photo = Image.open(PHOTO).convert("RGB").resize((SIZE[0] + 80, SIZE[1] + 80))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264" if "libx264" in av.codecs_available else "mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(frames):
            x, y = number % 80, (number * 3) % 80
            part = photo.crop((x, y, x + SIZE[0], y + SIZE[1]))
            container.mux(stream.encode(av.VideoFrame.from_image(part)))
        container.mux(stream.encode(None))
    return path


class Bare:
    """What somebody would write who wants nothing but the scores."""

    def __init__(self, model: Model, folder: Path) -> None:
        plain, scores = onnx.load(model.path), model.classifier
        assert scores is not None
        kept = [one for one in plain.graph.output if one.name == scores.scores]
        del plain.graph.output[:]
        plain.graph.output.extend(kept)
        onnx.save(plain, folder / "bare.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(folder / "bare.onnx", options, providers=["CPUExecutionProvider"])
        self.preprocess = model.preprocess

    def run(self, video: Path) -> float:
        """Milliseconds of processor time a frame."""
        began, count, name = time.process_time(), 0, self.session.get_inputs()[0].name
        with av.open(str(video)) as container:
            for frame in container.decode(video=0):
                picture = Image.fromarray(frame.to_ndarray(format="rgb24"))
                self.session.run(None, {name: self.preprocess.tensor(picture)})
                count += 1
        return (time.process_time() - began) / count * 1e3


def run_live(model: Model, video: Path, watchers: int, pictures: float = PICTURES) -> tuple[float, float, int]:
    """(milliseconds of processor time a frame, pictures a second that a watcher got, maps that were made)."""
    engine = LiveEngine(Looker(model), SourceReader(VideoSource(video), once=True), Hub())
    engine.pictures = PicturePace(pictures)
    server = make_server(uvicorn, engine, Gate(list_names("127.0.0.1")), print)
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        serving.start()
        client = subprocess.Popen([sys.executable, "-c", WATCH, str(port), str(watchers), QUERY])
        while len(engine.hub.watchers) < watchers:
            time.sleep(0.01)
        began, then = time.process_time(), time.monotonic()
        engine.reader.start()
        engine.start()
        engine.join()
        spent, lasted = time.process_time() - began, time.monotonic() - then
        sent = [one.sent for one in engine.hub.watchers]
        server.should_exit = True
        serving.join()
        client.wait()
    frames = engine.counts.frames
    return spent / frames * 1e3, statistics.mean(sent) / lasted if sent else 0.0, engine.looker.maps_made


def main() -> None:
    """Measure, print, and end with 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--long", type=int, default=10_000, help="frames of the run that watches the memory")
    arguments = parser.parse_args()
    model = open_model(DEFAULT_MODEL, threads=1)
    good = []
    with tempfile.TemporaryDirectory() as name:
        video = write_video(Path(name) / "video.mp4", arguments.frames)
        bare = Bare(model, Path(name))
        bare.run(video), run_live(model, video, 1)
        rows = []
        for _ in range(arguments.rounds):
            one, ten, none = (run_live(model, video, watchers) for watchers in (1, 10, 0))
            every = run_live(model, video, 1, math.inf)
            rows.append((bare.run(video), none[0], one[0], ten[0], every[0], one[1], ten[1], every[1]))
            assert none[2] == 0, "nobody watched, and a map was made"
        columns = list(zip(*rows, strict=True))
        plain, none, one, ten, all_, *got = (statistics.median(column) for column in columns)
        print(f"ms a frame: bare {plain:.1f}, nobody {none:.1f}, one {one:.1f}, ten {ten:.1f}, one sees all {all_:.1f}")
        print("pictures a second: one got {:.1f}, each of ten {:.1f}, one who sees all {:.1f}".format(*got))
        least = [min(column) for column in columns[:5]]
        print(
            f"the quietest blocks: nobody {least[1] / least[0]:.2f}, one {least[2] / least[0]:.2f}, "
            f"ten {least[3] / least[2]:.2f} of one, one who sees every frame {least[4] / least[0]:.2f} x"
        )
        good.append(report("nobody watches, against bare", statistics.median(r[1] / r[0] for r in rows), 1.1))
        good.append(
            report("one watches a layer and a map, against bare", statistics.median(r[2] / r[0] for r in rows), 1.3)
        )
        good.append(report("ten watch, against one", statistics.median(r[3] / r[2] for r in rows), 1.2))
        if arguments.long:
            good.append(measure_memory(model, video, arguments.long))
    sys.exit(not all(good))


def measure_memory(model: Model, video: Path, frames: int) -> bool:
    """Whether the memory stays as it is after a tenth of many frames, with one who watches."""
    held = []
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(1.0):
            held.append((measure_resident() or 0) / 1e6)

    long = Path(video).with_name("long.mp4")
    write_video(long, frames)
    watching = threading.Thread(target=look)
    watching.start()
    run_live(model, long, 1)
    stop.set()
    watching.join()
    early, late = np.median(held[len(held) // 10 : len(held) // 5]), np.median(held[-len(held) // 10 :])
    print(f"memory over {frames} frames: {early:.1f} MB after a tenth, {late:.1f} MB at the end")
    return report("memory at the end, against that after a tenth", late / early, 1.05)


if __name__ == "__main__":
    main()
