"""Maps of boxes: what ten of them cost beside one bare run of the network, and beside a backward pass of torch.

    python tests/benchmarks/bench_boxes.py [--size 640]

The network has the blocks and widths of the smallest YOLOv8, randomly initialised, so any ten places serve as boxes.
All is measured in turn in one process with one thread each, in processor seconds (user and system): a busy machine
changes them little, and threads that wait by spinning not at all.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn
from torch.nn import functional

from inspector import open_model
from inspector.cam import BoxChoice, prepare_maps

ROUNDS, BOXES, CLASSES = 9, 10, 80


def conv(cin: int, cout: int, k: int = 1, s: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(cin, cout, k, s, k // 2, bias=False), nn.BatchNorm2d(cout), nn.SiLU())


class Split(nn.Module):
    """A convolution whose halves go on: one as it is, one through `depth` bottlenecks, all of them joined."""

    def __init__(self, cin: int, cout: int, depth: int, add: bool) -> None:
        super().__init__()
        self.half, self.add = cout // 2, add
        self.first, self.last = conv(cin, cout), conv((2 + depth) * self.half, cout)
        self.blocks = nn.ModuleList(
            nn.Sequential(conv(self.half, self.half, 3), conv(self.half, self.half, 3)) for _ in range(depth)
        )

    def forward(self, x: Any) -> Any:
        parts = list(self.first(x).split(self.half, 1))
        for block in self.blocks:
            made = block(parts[-1])
            parts.append(parts[-1] + made if self.add else made)
        return self.last(torch.cat(parts, 1))


class Detector(nn.Module):
    """Backbone, pyramid and head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2), Split(32, 32, 1, True))
        self.down = nn.ModuleList(
            nn.Sequential(conv(a, b, 3, 2), Split(b, b, n, True))
            for a, b, n in ((32, 64, 2), (64, 128, 2), (128, 256, 1))
        )
        self.before, self.after = conv(256, 128), conv(512, 256)
        self.up4, self.up3 = Split(384, 128, 1, False), Split(192, 64, 1, False)
        self.down4, self.down5 = conv(64, 64, 3, 2), conv(128, 128, 3, 2)
        self.out4, self.out5 = Split(192, 128, 1, False), Split(384, 256, 1, False)
        widths = (64, 128, 256)
        self.boxes = nn.ModuleList(nn.Sequential(conv(w, 64, 3), conv(64, 64, 3), nn.Conv2d(64, 64, 1)) for w in widths)
        self.scores = nn.ModuleList(
            nn.Sequential(conv(w, 80, 3), conv(80, 80, 3), nn.Conv2d(80, CLASSES, 1)) for w in widths
        )

    def forward(self, x: Any) -> Any:
        c3 = self.down[0](self.stem(x))
        c4 = self.down[1](c3)
        x = self.before(self.down[2](c4))
        pools = [x]
        for _ in range(3):
            pools.append(functional.max_pool2d(pools[-1], 5, 1, 2))
        p5 = self.after(torch.cat(pools, 1))
        p4 = self.up4(torch.cat((functional.interpolate(p5, scale_factor=2.0), c4), 1))
        p3 = self.up3(torch.cat((functional.interpolate(p4, scale_factor=2.0), c3), 1))
        p4 = self.out4(torch.cat((self.down4(p3), p4), 1))
        p5 = self.out5(torch.cat((self.down5(p4), p5), 1))
        rows = []
        for m, sizes, score, stride in zip((p3, p4, p5), self.boxes, self.scores, (8, 16, 32), strict=True):
            shares = sizes(m).reshape(1, 4, 16, -1).softmax(2)
            sides = (shares * torch.arange(16.0).reshape(1, 1, -1, 1)).sum(2) * stride
            y, x = torch.meshgrid(torch.arange(m.shape[2]), torch.arange(m.shape[3]), indexing="ij")
            centres = torch.stack((x, y)).reshape(1, 2, -1) * float(stride)
            box = torch.cat((centres, sides[:, :2] + sides[:, 2:]), 1)
            rows.append(torch.cat((box, score(m).reshape(1, CLASSES, -1).sigmoid()), 1))
        return torch.cat(rows, 2)


def spread_scores(net: Detector, x: Any) -> None:
    """Give features and scores the spread that those of trained networks have: random ones are all alike."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net.train()(x)
    for branch in net.eval().scores:
        nn.init.normal_(branch[-1].weight, std=0.3)
        nn.init.constant_(branch[-1].bias, -6.0)


def seconds(call: Callable[[], object]) -> float:
    """Processor seconds of one call, of all threads."""
    start = time.process_time()
    call()
    return time.process_time() - start


def compare(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The median seconds of each, measured in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(ROUNDS):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> None:
    size = int(sys.argv[sys.argv.index("--size") + 1]) if "--size" in sys.argv else 640
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = Detector().eval()
    x = np.random.default_rng(0).random((1, 3, size, size)).astype(np.float32)
    spread_scores(net, torch.from_numpy(x))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "detector.onnx"
        torch.onnx.export(net, (torch.from_numpy(x),), str(path), dynamo=False, opset_version=17)
        proto = onnx.load(path)
        names = {"task": "detect", "names": repr({i: str(i) for i in range(CLASSES)}), "imgsz": f"[{size}, {size}]"}
        onnx.helper.set_model_props(proto, names)
        onnx.save(proto, path)
        model = open_model(path, threads=1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        # As many candidates before suppression as a street has.
        scores = session.run(None, {session.get_inputs()[0].name: x})[0][0, 4:].max(axis=0)
        least = float(np.sort(scores)[-100])
        engine = prepare_maps(model, choice=BoxChoice(tuple(range(BOXES)), confidence=least))
        one = prepare_maps(model, choice=BoxChoice((0,), confidence=least))
        assert len(engine.maps(x)) == BOXES
        picture = torch.from_numpy(x).requires_grad_()
        score = net(picture)[0, 4:].max()
        found = compare(
            {
                "bare run": lambda: session.run(None, {session.get_inputs()[0].name: x}),
                "ten boxes": lambda: engine.maps(x),
                "one box": lambda: one.maps(x),
                "backward": lambda: torch.autograd.grad(score, picture, retain_graph=True),
            }
        )
    each = (found["ten boxes"] - found["one box"]) / (BOXES - 1)
    print(f"{size} x {size}, processor seconds of one thread, the median of {ROUNDS}")
    for name, value in found.items():
        print(f"  {name:10} {value * 1000:8.1f} ms")
    ratio, backward = found["ten boxes"] / found["bare run"], found["backward"] / each
    print(f"  all maps of ten boxes, the run included: {ratio:.2f} x a bare run (at most 2)")
    print(f"  a further box {each * 1000:.1f} ms; a backward pass of torch is {backward:.0f} x that (at least 5)")


if __name__ == "__main__":
    main()
