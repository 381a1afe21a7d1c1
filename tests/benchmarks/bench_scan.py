"""`inspector scan` against decoding plus a bare run with the same layers exposed; memory; merging; near copies.

    python tests/benchmarks/bench_scan.py [speed|memory|driver|merge|copies] [--pictures N]

Speed is given in seconds of a processor, which another load on the machine changes little. For `copies` imagededup is
needed (a venv of its own: it brings torch).
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
from measure import DEFAULT_MODEL, PHOTO
from PIL import Image

from inspector.model import Model, open_model
from inspector.scanning import ScanOptions, load_scan_state, save_scan_state, scan_pictures
from inspector.scanning.finish import merge_sums
from inspector.scanning.folder import state_path
from inspector.scanning.look import ShardLooker
from inspector.scanning.plan import ScanPlan, load_plan
from inspector.scanning.state import PictureRows, ScanState, list_arrays


def make_pictures(folder: Path, count: int, size: tuple[int, int] = (500, 375)) -> None:
    """Crops of photographs as JPEG files of ImageNet's usual size, ten classes."""
    rng = np.random.default_rng(0)
    from skimage import data

    photos = [Image.fromarray(p) for p in (data.chelsea(), data.astronaut(), data.coffee(), data.rocket())]
    for number in range(count):
        photo = photos[number % len(photos)]
        side = rng.uniform(0.4, 0.9)
        w, h = int(photo.width * side), int(photo.height * side)
        x, y = rng.integers(0, photo.width - w), rng.integers(0, photo.height - h)
        target = folder / f"class-{number % 10}"
        target.mkdir(parents=True, exist_ok=True)
        photo.crop((x, y, x + w, y + h)).resize(size).save(target / f"{number:06d}.jpg", quality=85)


def run_bare(model: Model, layers: list[str], files: list[Path]) -> float:
    """Processor seconds of decoding, preparing and one bare session with the same outputs, on one thread."""
    graph = model.graph
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    tensors = [model.layer(name).tensor for name in layers] + [model.classifier.scores]
    cut = graph.cut(tuple(dict.fromkeys(tensors)), None)
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(graph.folder))
    session = onnxruntime.InferenceSession(cut.proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    start = time.process_time()
    for path in files:
        with Image.open(path) as image:
            tensor = model.preprocess.tensor(image.convert("RGB"))
        session.run(None, {name: tensor})
    return time.process_time() - start


def measure_speed(count: int) -> None:
    """Pictures per second of a processor: looked at, and decoded and run alone."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_pictures(folder / "set", count)
        model = open_model(DEFAULT_MODEL, threads=1)
        options = ScanOptions("plain", shard_size=count)
        scan_pictures(model, [folder / "set"], folder / "scan", options)
        plan = load_plan(folder / "scan")
        looker = ShardLooker(folder / "scan", plan)
        names = [x.name for x in plan.layers]
        files = sorted((folder / "set").rglob("*.jpg"))
        ratios = []
        for _ in range(5):
            bare = run_bare(model, names, files)
            start = time.process_time()
            looker.look(0)
            own = time.process_time() - start
            ratios.append(bare / own)
            print(f"  bare {count / bare:.1f}, scan {count / own:.1f} pictures per second of a core: {bare / own:.2f}")
        print(f"scan reaches {np.median(ratios):.2f} of decoding plus a bare run with {len(names)} layers exposed")
        core = count / own
        print(
            f"1.3 million pictures: {1.3e6 / core / 3600:.1f} hours on one core, {1.3e6 / core / 3600 / 64:.2f} on 64"
        )


PEAK = """
import resource, sys, inspector
from pathlib import Path
from inspector.scanning import ScanOptions, scan_pictures
scan_pictures(inspector.open_model(sys.argv[1], threads=1), [sys.argv[2]], Path(sys.argv[3]), ScanOptions(workers=2))
own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(f"{own:.0f} {workers:.0f}")
"""


def measure_memory(counts: list[int]) -> None:
    """Peak memory of the driver and of a worker, for a small network and more and more small pictures."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = make_small_model(folder)
        for count in counts:
            made = folder / f"set-{count}"
            make_small_pictures(made, count)
            command = [sys.executable, "-c", PEAK, str(model), str(made), str(folder / f"scan-{count}")]
            start = time.monotonic()
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            seconds = time.monotonic() - start
            print(f"{count:>7} pictures: driver {told[0]} MB, worker {told[1]} MB at most, {seconds:.0f} s")
            shutil.rmtree(made)


DRIVER = """
import sys, threading, time, inspector
from pathlib import Path
from inspector.scanning import ScanOptions, scan_pictures
def read(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(name))
peak, at = [0.0, ""], [""]
def watch():
    while True:
        now = read("RssAnon")
        if now > peak[0]:
            peak[:] = now, at[0]
        time.sleep(0.002)
threading.Thread(target=watch, daemon=True).start()
def move(done, total, about=""):
    at[0] = f"{about} {done}/{total}"
model = inspector.open_model(sys.argv[1], threads=1)
scan_pictures(model, [sys.argv[2]], Path(sys.argv[3]), ScanOptions(resume=True), move)
print(f"{read('VmHWM'):.0f} MB resident at most, {peak[0]:.0f} MB of that its own (at {peak[1]})")
"""


def measure_driver(counts: list[int]) -> None:
    """Peak memory of the process that lists, merges and writes, with states that no network made: quick to repeat."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = make_small_model(folder)
        make_small_pictures(folder / "base", 1000)
        scan_pictures(open_model(model, threads=1), [folder / "base"], folder / "real", ScanOptions("plain"))
        for count in counts:
            link_pictures(folder / "base", folder / f"set-{count}", count)
            out = folder / f"scan-{count}"
            shards = -(-count // 256)
            part = ScanOptions("plain", shard=(shards, shards))
            plan = scan_pictures(open_model(model, threads=1), [folder / f"set-{count}"], out, part).plan
            invent_states(load_scan_state(state_path(folder / "real", 0)), plan, out)
            command = [sys.executable, "-c", DRIVER, str(model), str(folder / f"set-{count}"), str(out)]
            start = time.monotonic()
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
            print(f"{count:>7} pictures: {told}, {time.monotonic() - start:.0f} s", flush=True)


def link_pictures(base: Path, folder: Path, count: int) -> None:
    """As many names as there are to be pictures, for a thousand files."""
    files = sorted(base.rglob("*.jpg"), key=lambda path: path.name)
    for number in range(count):
        target = folder / f"{number % 10}" / f"{number:06d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(files[number % len(files)])


def invent_states(real: ScanState, plan: ScanPlan, out: Path) -> None:
    """States of all shards: the sums of a real one and rows of noise; every tenth picture is nearly the one before."""
    rng = np.random.default_rng(2)
    for shard in range(plan.shards):
        first, end = plan.find_range(shard)
        rows = PictureRows(**{name: array[: end - first] for name, array in list_arrays(real.rows).items()})
        size = len(rows)
        small = rng.integers(0, 256, (size, 32, 32), np.uint8)
        small[1::10] = small[0::10][: len(small[1::10])] ^ 1
        moved = replace(
            rows,
            number=np.arange(first, end),
            digest=rng.integers(0, 256, rows.digest.shape, np.uint8),
            embedding=(rows.embedding + rng.normal(0, 0.1, rows.embedding.shape)).astype(np.float16),
            small=small,
        )
        sums = replace(real.sums, pictures=size, top_pictures=real.sums.top_pictures % size + first)
        save_scan_state(ScanState(plan.digest, ((first, end),), sums, moved), state_path(out, shard))


def make_small_pictures(folder: Path, count: int) -> None:
    """Noise of 24 x 24 pixels, a thousand a folder."""
    rng = np.random.default_rng(1)
    for number in range(count):
        target = folder / f"{number % 10}"
        target.mkdir(parents=True, exist_ok=True)
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).save(stream, "JPEG")
        (target / f"{number:06d}.jpg").write_bytes(stream.getvalue())


def make_small_model(folder: Path) -> Path:
    """A network of two layers with 64 channels each."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.foreign import Net

    net = Net()
    x = net.input("x", (1, 3, 24, 24))
    y = net("Relu", net.conv(x, 3, 64, 3, pads=1), out="first")
    z = net("Relu", net.conv(y, 64, 64, 3, pads=1, stride=2), out="second")
    scores = net("Gemm", net("Flatten", net("GlobalAveragePool", z)), net.weight((10, 64)), transB=1, out="scores")
    path = folder / "small.onnx"
    path.write_bytes(net.model(scores).SerializeToString())
    return path


def measure_merge(count: int) -> None:
    """Seconds to merge the states of `count` shards of the default model."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_pictures(folder / "set", 64)
        model = open_model(DEFAULT_MODEL, threads=1)
        scan_pictures(model, [folder / "set"], folder / "scan", ScanOptions("plain", shard_size=64))
        plan = load_plan(folder / "scan")
        state = load_scan_state(state_path(folder / "scan", 0))
        many = replace(plan, total=64 * count, shard_size=64)
        for shard in range(count):
            first = shard * 64
            moved = replace(
                state,
                scan=many.digest,
                ranges=((first, first + 64),),
                rows=replace(state.rows, number=state.rows.number + first),
                sums=replace(state.sums, top_pictures=state.sums.top_pictures + first),
                skipped=(),
            )
            save_scan_state(moved, state_path(folder / "scan", shard))
        start, used = time.monotonic(), time.process_time()
        merge_sums(folder / "scan", many)
        print(
            f"{count} states merged in {time.monotonic() - start:.1f} s ({time.process_time() - used:.1f} s of a core)"
        )


def compare_copies() -> None:
    """Planted near copies: found by the scan, and by imagededup's hashes."""
    from imagededup.methods import AHash, DHash, PHash, WHash
    from skimage import data

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "set"
        folder.mkdir()
        names = ("chelsea", "astronaut", "coffee", "rocket")
        bases = []
        for name in names:
            photo = Image.fromarray(getattr(data, name)())
            w, h = photo.size
            bases += [photo.crop((x, y, x + w // 2, y + h // 2)) for x in (0, w // 2) for y in (0, h // 2)]
        pairs = set()
        for number, photo in enumerate(bases):
            w, h = photo.size
            made = {
                "base": photo,
                "resized": photo.resize((w // 2, h // 2)),
                "cropped": photo.crop((w // 20, h // 20, w - w // 20, h - h // 20)),
                "side": photo.crop((0, h // 20, w, h)),
            }
            for kind, picture in made.items():
                picture.save(folder / f"{number:02d}-{kind}.png")
            photo.save(folder / f"{number:02d}-jpeg.jpg", quality=30)
            files = sorted(p.name for p in folder.glob(f"{number:02d}-*"))
            pairs |= {(a, b) for a in files for b in files if a < b}
        scan_pictures(open_model(DEFAULT_MODEL), [folder], Path(place) / "scan", ScanOptions())
        import pyarrow.parquet as parquet

        rows = parquet.read_table(Path(place) / "scan" / "pictures.parquet", columns=["path", "copy_of"]).to_pylist()
        own = {
            (a, b)
            for x in rows for y in rows if x["copy_of"] == y["copy_of"] >= 0
            for a, b in [(Path(x["path"]).name, Path(y["path"]).name)] if a < b
        }  # fmt: skip
        tell("inspector scan", own, pairs)
        for method in (PHash, DHash, WHash, AHash):
            for threshold in (10, 14, 18):
                maps = method().find_duplicates(image_dir=str(folder), max_distance_threshold=threshold)
                found = {(a, b) for a, others in maps.items() for b in others if a < b}
                found |= {(b, a) for a, others in maps.items() for b in others if b < a}
                tell(f"imagededup {method.__name__} at {threshold}", found, pairs)


def tell(name: str, found: set[tuple[str, str]], pairs: set[tuple[str, str]]) -> None:
    """Recall and precision of pairs."""
    right = len(found & pairs)
    print(f"{name}: recall {right / len(pairs):.3f}, precision {right / max(1, len(found)):.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["speed", "memory", "driver", "merge", "copies"], default="speed", nargs="?")
    parser.add_argument("--pictures", type=int, default=0)
    given = parser.parse_args()
    assert PHOTO.exists()
    if given.what == "speed":
        measure_speed(given.pictures or 200)
    elif given.what == "memory":
        measure_memory([1000, given.pictures or 50_000])
    elif given.what == "driver":
        measure_driver([1000, given.pictures or 50_000])
    elif given.what == "merge":
        measure_merge(given.pictures or 1000)
    else:
        compare_copies()
