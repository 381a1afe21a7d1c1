"""How long the sheets of every layer take, against matplotlib drawing a few of them.

    PYTHONPATH=. python tests/benchmarks/bench_render.py [rounds]

The maps have the shapes of EfficientNet-Lite0's 91 layers at 224 x 224 (41,232 channels, 13.1 million values) and
about as many zeros. The peer is the lecture's way: one array with 16 channels a row, shown and saved by matplotlib;
it draws no number and no constant channel, and it is given four layers, since all of them would take a minute.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspector.render.grid import draw_grid
from inspector.render.png import save_png

# (channels, side, expanded, blocks): the stages of the network, as expansion, depthwise, projection and sum.
_STAGES = [(24, 56, 144, 2), (40, 28, 240, 2), (80, 14, 480, 3), (112, 14, 672, 3), (192, 7, 1152, 4)]


def shapes() -> list[tuple[int, int, int]]:
    """(C, H, W) of every layer, first to last: 91 of them, 41,232 channels."""
    out = [(32, 112, 112)] * 4 + [(16, 112, 112)]
    wide, before = 96, 112
    for channels, side, expanded, blocks in _STAGES:
        for block in range(blocks):
            out += [(wide, before, before)] * 2 + [(wide, side, side)] * 2 + [(channels, side, side)]
            out += [(channels, side, side)] * (block > 0)
            wide, before = expanded, side
    out += [(1152, 7, 7)] * 4 + [(320, 7, 7)] + [(1280, 7, 7)] * 2
    return out


def layers() -> list[NDArray[np.float32]]:
    """Maps of those shapes: smooth noise, every second layer rectified, some channels constant."""
    rng = np.random.default_rng(0)
    out = []
    for n, shape in enumerate(shapes()):
        maps = rng.normal(size=shape).astype(np.float32)
        maps += np.roll(maps, 1, axis=1) + np.roll(maps, 1, axis=2)
        if n % 2:
            maps = np.maximum(maps - 0.5, 0)
            maps[rng.random(len(maps)) < 0.1] = 0
        out.append(maps)
    return out


def ours(maps: Sequence[NDArray[np.float32]], folder: Path, threads: int) -> float:
    """Seconds to draw and write one sheet for each layer."""

    def work(n: int) -> None:
        save_png(draw_grid(maps[n], title=f"features.{n} (conv)", subtitle="model on picture"), folder / f"{n}.png")

    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(len(maps))))
    return time.perf_counter() - start


def theirs(maps: Sequence[NDArray[np.float32]], folder: Path) -> float:
    """Seconds for the same with matplotlib's pyplot."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    start = time.perf_counter()
    for n, layer in enumerate(maps):
        count, height, width = layer.shape
        rows = -(-count // 16)
        grid = np.zeros((rows * height, 16 * width), np.float32)
        for c, channel in enumerate(layer):
            low, high = channel.min(), channel.max()
            y, x = divmod(c, 16)
            grid[y * height : (y + 1) * height, x * width : (x + 1) * width] = (channel - low) / (high - low or 1)
        figure = pyplot.figure(figsize=(16 * max(width, 28) / 100, rows * max(height, 28) / 100), dpi=100)
        pyplot.imshow(grid, aspect="auto", cmap="viridis")
        figure.savefig(folder / f"theirs-{n}.png")
        pyplot.close(figure)
    return time.perf_counter() - start


def main(rounds: int = 5) -> None:
    """Print the medians and the ratio."""
    maps = layers()
    channels, values = sum(map(len, maps)), sum(layer.size for layer in maps)
    print(f"{len(maps)} layers, {channels:,} channels, {values:,} values")
    few = [maps[1], maps[12], maps[40], maps[-1]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours(maps, folder, 2)
        for threads in (1, 2):
            times = [ours(maps, folder, threads) for _ in range(rounds)]
            print(f"all layers, {threads} threads: median {statistics.median(times):.3f} s, best {min(times):.3f} s")
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{size / 1e6:.1f} MB of PNG")
        theirs(few[:1], folder)
        pairs = [(ours(few, folder, 1), theirs(few, folder)) for _ in range(rounds)]
        ratio = statistics.median(b / a for a, b in pairs)
        print(f"four layers, one thread: matplotlib takes {ratio:.1f} times as long")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
