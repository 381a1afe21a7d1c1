"""Filter patterns against dreamlens 0.1.1: the same torchvision resnet18, layer, channels, size and number of steps.

    pip install --no-deps dreamlens==0.1.1
    PYTHONPATH=. python tests/benchmarks/bench_dreamlens.py [picture.png] [steps of one channel] [steps of 64]

dreamlens is given its documented call with its defaults (Fourier, colours decorrelated, its own transforms, 120
steps), and for many channels also `render_neurons`, which takes a batch. Ours is the recipe `clear` with the same size
and steps, from opening the .onnx to the PNG files. In turn; the pictures of both go side by side into `picture.png`.
torchvision's weights are not downloaded: random ones cost the same, so judge pictures with care. For 64 channels fewer
steps are enough: the documented call takes one channel after the other, and is measured on a few before and after ours.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for both

import torch
import torchvision
from PIL import Image

from inspector import open_model
from inspector.ascent import CLEAR
from inspector.pages.filters import draw_filters
from inspector.render.sheet import draw_sheet
from tests.benchmarks.measure import report

LAYER, SIDE = "layer2.1.conv2", 128
MANY, FEW, BATCH, ROUNDS = 64, 3, 16, 3


def export(folder: Path) -> tuple[Any, Path]:
    """resnet18 with random weights, and the same as .onnx."""
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None).eval()
    path = folder / "resnet18.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (torch.randn(2, 3, 224, 224),), path, dynamo=True, external_data=False, verbose=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},), input_names=["input"],
        )  # fmt: skip
    return model, path


def ours(path: Path, folder: Path, channels: list[int], steps: int) -> tuple[float, list[Image.Image]]:
    """Seconds and pictures, from the file to the files."""
    start = time.perf_counter()
    model = open_model(path)
    recipe = CLEAR.with_(steps=steps)
    run = draw_filters(model, folder, [model.layer(LAYER)], channels=channels, recipe=recipe, size=SIDE)
    seconds = time.perf_counter() - start
    return seconds, [Image.open(p.image).convert("RGB") for p in run.sheets[0].pictures]


def theirs(model: Any, channels: list[int], steps: int) -> tuple[float, list[Image.Image]]:
    """Seconds and pictures of the documented call, one channel after the other."""
    from dreamlens import FeatureTarget, FeatureVisualizer, RenderConfig

    start = time.perf_counter()
    visualizer = FeatureVisualizer(model, normalize=True, quiet=True)
    config = RenderConfig(width=SIDE, height=SIDE, steps=steps)
    made = []
    for number in channels:
        target = FeatureTarget.for_channel(LAYER, number, reduction="mean")
        made.append(visualizer.visualize(target, method="maximize", config=config).as_hwc())
    seconds = time.perf_counter() - start
    return seconds, [Image.fromarray((p.clamp(0, 1) * 255).byte().numpy()) for p in made]


def their_batch(model: Any, channels: list[int], steps: int) -> float:
    """Seconds of `render_neurons`, which takes all channels at once."""
    from dreamlens.preprocessing import imagenet_normalize
    from dreamlens.render import render_neurons

    start = time.perf_counter()
    render_neurons(channels, model, LAYER, size=SIDE, n_steps=steps, num_attempts=1, preprocess=imagenet_normalize)
    return time.perf_counter() - start


def main() -> None:
    """Print the ratios and write the picture."""
    picture = Path(sys.argv[1] if len(sys.argv) > 1 else "dreamlens.png")
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 120
    short = int(sys.argv[3]) if len(sys.argv) > 3 else 24
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, path = export(folder)
        ours(path, folder / "warm", [0], 2)
        theirs(model, [0], 2)
        pairs = []
        for n in range(ROUNDS):
            a, mine = ours(path, folder / f"one{n}", [17], steps)
            b, beside = theirs(model, [17], steps)
            pairs.append((a, b))
        best = [min(times) for times in zip(*pairs, strict=True)]
        print(f"one channel, {steps} steps: ours {best[0]:.2f} s, dreamlens {best[1]:.2f} s, best of {ROUNDS}")
        report("one channel, median of pairs", statistics.median(b / a for a, b in pairs), 1.5, at_least=True)
        before = theirs(model, list(range(FEW)), short)[0]
        many = ours(path, folder / "many", list(range(MANY)), short)[0] / MANY
        after = theirs(model, list(range(FEW)), short)[0]
        single = (before + after) / 2 / FEW
        batch = their_batch(model, list(range(BATCH)), short) / BATCH
        print(
            f"per channel of {MANY}, {short} steps: ours {many:.3f} s, dreamlens {single:.3f} s (from {FEW} channels)"
        )
        print(f"  dreamlens render_neurons, {BATCH} at once: {batch:.3f} s a channel, {batch / many:.2f} x ours")
        report(f"per channel of {MANY}, against its documented call", single / many, 3, at_least=True)
        title = f"resnet18 (random weights) {LAYER}, channel 17, {SIDE} px, {steps} steps"
        draw_sheet([*mine, *beside], ["ours", "dreamlens"], title=title, tile_size=256).save(picture)
        print(f"pictures: {picture}")


if __name__ == "__main__":
    main()
