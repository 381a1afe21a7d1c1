"""How long filter patterns take, against a script with a forward hook and against the way peers do it.

    PYTHONPATH=. python tests/benchmarks/bench_ascent.py [figure] [step] [clear]

Needs torchvision and, for `clear`, the default model. VGG16 has random weights, which cost what trained ones cost.

`figure` is the lecture's: VGG16, 4 layers x 64 filters x 40 steps at 64x64, our whole command in its own process
(start, file, check against onnxruntime, pictures, grids). The script loops over filters with a forward hook on the full
model, one picture at a time, weights left as torchvision makes them. The peer's way enlarges each picture to 224 first.
Both are measured for a few steps per layer, of which they do 2,560 each, and multiplied; their start is free.

`step` is one step at block4_conv3 (features.21), 224x224, per picture. `clear` is 64 channels of EfficientNet-Lite0.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it for itself; the same for every peer

import torch
import torchvision
from torch import Tensor

from inspector import open_model
from inspector.ascent import LECTURE, Network, ascend, channel, make_generator
from inspector.ascent.network import has_bfloat16
from tests.benchmarks.measure import DEFAULT_MODEL, report

LAYERS = ("features.0", "features.5", "features.10", "features.17")
FILTERS, STEPS, SIDE = 64, 40, 64


def export_vgg16(folder: Path) -> tuple[Any, Path]:
    """torchvision's VGG16 with random weights, and the same as .onnx."""
    torch.manual_seed(0)
    model = torchvision.models.vgg16(weights=None).eval()
    path = folder / "vgg16.onnx"
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (torch.randn(2, 3, 224, 224),), path, dynamo=True, external_data=False, verbose=False,
            dynamic_shapes=({0: batch},), input_names=["input"],
        )  # fmt: skip
    return model, path


def hook_step(model: Any, layer: int, prepare: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """One step of the straightforward script: the full model, a forward hook, backward() through everything."""
    kept: dict[str, Tensor] = {}
    model.features[layer].register_forward_hook(lambda module, given, made: kept.update(value=made))

    def step(picture: Tensor) -> Tensor:
        picture = picture.detach().requires_grad_()
        model(prepare(picture))
        kept["value"][0, 3].mean().backward()
        gradient = picture.grad
        assert gradient is not None
        return (picture + gradient / (gradient.square().mean().sqrt() + 1e-5) / 255).detach()

    return step


def seconds_per_step(step: Callable[[Tensor], Tensor], side: int, count: int) -> float:
    """Median seconds of a step after a warm-up."""
    picture = torch.rand(1, 3, side, side)
    times = []
    for n in range(count + 1):
        start = time.perf_counter()
        picture = step(picture)
        if n:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def enlarged(picture: Tensor) -> Tensor:
    """The peers' way: whatever the canvas, the network is shown 224x224."""
    return torch.nn.functional.interpolate(picture, (224, 224), mode="bilinear", align_corners=False)


def figure(model: Any, path: Path, folder: Path) -> None:
    """The lecture's figure as a whole command."""
    options = ["--recipe", "lecture", "--channels", f"0-{FILTERS - 1}", "--size", str(SIDE), "--quiet"]
    named = [word for layer in LAYERS for word in ("--layer", layer)]
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "inspector", "filters", str(path), *named, *options, "-o", str(folder / "figure")],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    ours = time.perf_counter() - start
    plain = peer = 0.0
    for name in LAYERS:
        number = int(name.split(".")[1])
        times = FILTERS * STEPS
        plain += times * seconds_per_step(hook_step(model, number, lambda picture: picture), SIDE, 5)
        peer += times * seconds_per_step(hook_step(model, number, enlarged), SIDE, 2)
        _unhook(model)
    print(f"the lecture's figure, {len(LAYERS)} x {FILTERS} x {STEPS} at {SIDE}x{SIDE}: {ours:.1f} s, whole command")
    print(f"  hook loop {plain:.0f} s, enlarged to 224 {peer:.0f} s, both multiplied from a few steps")
    report("figure against the hook loop", plain / ours, 10, at_least=True)
    report("figure against the peers' way", peer / ours, 30, at_least=True)


def step(model: Any, path: Path) -> None:
    """One step at block4_conv3 per picture."""
    theirs = seconds_per_step(hook_step(model, 21, lambda picture: picture), 224, 3)
    _unhook(model)
    opened = open_model(path)
    layer = opened.layer("features.21")
    for precision in ["float32", *(["bfloat16"] if has_bfloat16() else [])]:
        ours = _ours(opened, [layer], precision)
        print(f"one step at features.21, {precision}: {ours * 1e3:.0f} ms a picture, hook loop {theirs * 1e3:.0f}")
        report(f"step in {precision}", theirs / ours, 1.8 if precision == "float32" else 3.5, at_least=True)
    if not has_bfloat16():
        print("skip step in bfloat16: this processor has neither AVX512-BF16 nor AMX")


def _ours(model: Any, layers: Sequence[Any], precision: str, pictures: int = 8, steps: int = 3) -> float:
    network = Network(model, layers, precision=precision)
    numbers = list(range(pictures))
    times: list[float] = []
    last = 0.0

    def tick(done: int) -> None:
        nonlocal last
        now = time.perf_counter()
        if done > 1:
            times.append(now - last)
        last = now

    canvas = LECTURE.canvas((224, 224), 3, [make_generator(0, c) for c in numbers])
    ascend(network, channel(layers[0].name, numbers), canvas, LECTURE.new_optimiser(), steps=steps + 1, on_step=tick)
    return statistics.median(times) / pictures


def clear(folder: Path) -> None:
    """64 channels of a middle block of the default model with the recipe `clear`, as a whole command."""
    model = open_model(DEFAULT_MODEL)
    middle = [x for x in model.layers if x.shape and x.shape[2:] == (14, 14) and x.kind == "add"]
    start = time.perf_counter()
    out = folder / "clear"
    subprocess.run(
        [sys.executable, "-m", "inspector", "filters", str(DEFAULT_MODEL), "--layer", middle[0].name, "-o", str(out)],
        check=True,
    )
    seconds = time.perf_counter() - start
    print(f"EfficientNet-Lite0 {middle[0].name}, 64 channels, clear: {seconds:.0f} s, whole command; to look at: {out}")


def _unhook(model: Any) -> None:
    for module in model.features:
        module._forward_hooks.clear()
    model.zero_grad(set_to_none=True)


def main() -> None:
    """Run the parts that are named, or all."""
    wanted = set(sys.argv[1:]) or {"figure", "step", "clear"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if wanted & {"figure", "step"}:
            model, path = export_vgg16(folder)
            if "step" in wanted:
                step(model, path)
            if "figure" in wanted:
                figure(model, path, folder)
    if "clear" in wanted:
        clear(Path(tempfile.mkdtemp(prefix="clear-")))


if __name__ == "__main__":
    main()
