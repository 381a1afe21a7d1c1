"""What a GPU gains: the same work on the processor and on CUDA, in this process, one after the other.

    PYTHONPATH=. python tests/benchmarks/bench_gpu.py [scores] [layers] [gradient] [filters] [dream] [finetune]

Needs onnxruntime-gpu, torch with CUDA, and torchvision for ResNet-50 with random weights, which cost what trained ones
cost. Prints the card, the versions, and the median of several calls after two that do not count; the patterns, the
dream and the training are whole calls after a shorter one. Without a GPU it says so and ends.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image

import inspector
from inspector import Model, open_model
from inspector.ascent import FilterOptions, dream, settle_filters
from inspector.ascent.filters import find_patterns
from inspector.runtime import count_cores, name_device
from inspector.twin import build_twin
from inspector.twin.devices import compute_exactly
from tests.benchmarks.measure import DEFAULT_MODEL, PHOTO

DEVICES = ("cpu", "cuda")
LAYER = "blocks.5.swish"
MANY = 32


def median(call: Callable[[], object], count: int = 9) -> float:
    """Median seconds of a call."""
    times = []
    for number in range(count + 2):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        if number >= 2:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def once(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def say(what: str, cpu: float, cuda: float, count: int = 1) -> None:
    """A line: both times, the ratio, and how many a second where several pictures were done."""
    many = f"  {count / cpu:9.1f}/s {count / cuda:9.1f}/s" if count > 1 else ""
    print(f"{what:44} {cpu * 1e3:10.1f} ms {cuda * 1e3:10.1f} ms {cpu / cuda:7.1f} x{many}", flush=True)


def measure_scores(paths: list[Path]) -> None:
    """The scores of one picture and of many at once."""
    for path in paths:
        models = [open_model(path, provider=name) for name in DEVICES]
        tensor = models[0].tensor(PHOTO)
        for count in (1, MANY):
            batch = np.repeat(tensor, count, 0)
            say(
                f"{path.stem}: scores of {count}",
                *(median(lambda m=m, batch=batch: m.scores(batch)) for m in models),
                count,
            )


def measure_layers(paths: list[Path]) -> None:
    """Every layer of one picture."""
    for path in paths:
        models = [open_model(path, provider=name) for name in DEVICES]
        say(f"{path.stem}: all layers of 1", *(median(lambda m=m: m.activations(PHOTO)) for m in models))


def measure_gradient(paths: list[Path]) -> None:
    """The gradient of the scores in the pictures, through the twin."""
    for path in paths:
        model = open_model(path, provider="cpu")
        for count in (1, MANY):
            say(f"{path.stem}: gradient of {count}", *(_time_gradient(model, name, count) for name in DEVICES), count)


def _time_gradient(model: Model, device: str, count: int) -> float:
    name = model.graph.outputs[0]
    twin = build_twin(model.graph, [name], device=device)
    twin.requires_grad_(False)
    pictures = torch.from_numpy(np.repeat(model.tensor(PHOTO), count, 0)).to(device).requires_grad_()
    with compute_exactly():
        return median(lambda: torch.autograd.grad(twin(pictures)[name].square().sum(), pictures), 5)


def measure_filters() -> None:
    """Patterns of 32 channels of one layer, 160 steps each."""
    model = open_model(DEFAULT_MODEL, provider="cpu")
    times = []
    for device in DEVICES:
        options = FilterOptions(channels=range(MANY), device=device)
        spec = settle_filters(model, model.layer(LAYER), options)
        list(find_patterns(model, spec, [0, 1]))
        times.append(once(lambda spec=spec: list(find_patterns(model, spec))))
    say(f"patterns of {MANY} channels of {LAYER}", *times)
    say("... one step of one picture", *(t / MANY / spec.recipe.steps for t in times))


def measure_dream() -> None:
    """A dream of the photograph, 451 x 300 pixels, 3 sizes of 20 steps."""
    model, times = open_model(DEFAULT_MODEL, provider="cpu"), []
    for device in DEVICES:
        dream(model, PHOTO, [LAYER], steps=2, provider=device)
        times.append(once(lambda device=device: dream(model, PHOTO, [LAYER], provider=device)))
    say("dream of 451 x 300 pixels", *times)


def measure_finetune(folder: Path) -> None:
    """An epoch of the joint training of 192 pictures from blocks.10 on, behind stored activations."""
    data = _draw_shapes(folder / "shapes")
    times = []
    for device in DEVICES:
        inspector.finetune(
            data, DEFAULT_MODEL, folder / device, provider=device, precision="float32", unfreeze_from="blocks.10",
            head_epochs=3, joint_epochs=6, cache=folder / f"cache-{device}",
        )  # fmt: skip
        epochs = [json.loads(line) for line in (folder / device / "metrics.jsonl").read_text("utf-8").splitlines()]
        times.append(statistics.median(x["seconds"] for x in epochs if x["phase"] == "joint"))
    say("joint epoch of 192 pictures, validation included", *times, 192)


def _draw_shapes(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96]
    for number in range(240):
        array = rng.normal(128, 40, (96, 96, 3))
        across, down, side = rng.uniform(25, 70), rng.uniform(25, 70), rng.uniform(10, 22)
        right, below = np.abs(x - across), np.abs(y - down)
        inside = (np.hypot(right, below), np.maximum(right, below), right + below)[number % 3] < side
        array[inside] = rng.uniform(0, 255, 3)
        place = folder / f"class{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array.clip(0, 255).astype(np.uint8)).save(place / f"{number}.png")
    return folder


def main() -> None:
    """Print the lines asked for, or all."""
    if not torch.cuda.is_available():
        sys.exit("torch sees no GPU here")
    asked = sys.argv[1:] or ["scores", "layers", "gradient", "filters", "dream", "finetune"]
    print(f"{name_device('cuda')}, {count_cores()} cores", end="; ")
    print(f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")
    with tempfile.TemporaryDirectory() as place:
        folder, paths = Path(place), [DEFAULT_MODEL]
        if {"scores", "layers", "gradient"} & {*asked}:
            inspector.export("torchvision:resnet50", folder / "resnet50.onnx")
            paths.append(folder / "resnet50.onnx")
        for name, call in (("scores", measure_scores), ("layers", measure_layers), ("gradient", measure_gradient)):
            if name in asked:
                call(paths)
        if "filters" in asked:
            measure_filters()
        if "dream" in asked:
            measure_dream()
        if "finetune" in asked:
            measure_finetune(folder)


if __name__ == "__main__":
    main()
