"""Five networks to plant faults in: the default model, three of torchvision with random weights, a YOLO-like graph."""

from __future__ import annotations

import warnings
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tests.conftest import DEFAULT_MODEL, require
from tests.foreign import Net

SIDE = 72
TORCHVISION = ("resnet", "mobilenet_v3", "densenet")
NAMES = ("default", *TORCHVISION, "yolo")


def make_network(name: str, path: Path, *, opset: int = 17, fold: bool = False) -> Path:
    """Write one of the networks. `fold`: norms folded into convolutions, as torch's exporter does it."""
    if name == "default":
        return DEFAULT_MODEL
    if name == "yolo":
        path.write_bytes(make_yolo(opset).SerializeToString())
        return path
    torch = require("torch")
    torch.manual_seed(0)
    module = make_module(name)
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.weight.data.uniform_(0.5, 1.5, generator=generator)
            part.bias.data.uniform_(-0.3, 0.3, generator=generator)
            part.momentum = None
    module.train()
    with torch.no_grad():
        module(torch.randn(8, 3, SIDE, SIDE, generator=generator))
    module.eval()
    mode = torch.onnx.TrainingMode.EVAL if fold else torch.onnx.TrainingMode.PRESERVE
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, torch.zeros(1, 3, SIDE, SIDE), str(path), dynamo=False, opset_version=opset, training=mode,
            do_constant_folding=fold,
        )  # fmt: skip
    return path


def make_module(name: str) -> Any:
    """One of torchvision's classes, small."""
    models = require("torchvision").models
    if name == "resnet":
        return models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=10)
    if name == "densenet":
        return models.DenseNet(8, (2, 3, 2), 16, num_classes=10)
    setting, _ = models.mobilenetv3._mobilenet_v3_conf("mobilenet_v3_small", width_mult=0.25)
    return models.MobileNetV3(setting, 64, num_classes=10)


def make_yolo(opset: int = 17) -> onnx.ModelProto:
    """A backbone of SiLU blocks with pooling, a neck with a resize and concats, two heads."""
    net = Net(seed=3, opset=opset)
    x = net.input("images", (1, 3, SIDE, SIDE))

    def block(x: str, cin: int, cout: int, name: str, stride: int = 1, k: int = 3) -> str:
        y = net.conv(x, cin, cout, k, stride=stride, bias=False, w=f"{name}.conv.weight", name=f"/{name}/conv/Conv")
        y = net.bn(y, cout, name=f"/{name}/bn/BatchNormalization")
        return net("Mul", y, net("Sigmoid", y, name=f"/{name}/act/Sigmoid"), name=f"/{name}/act/Mul")

    def bottleneck(x: str, channels: int, name: str) -> str:
        y = block(block(x, channels, channels, f"{name}.cv1"), channels, channels, f"{name}.cv2")
        return net("Add", x, y, name=f"/{name}/Add")

    c1 = bottleneck(block(block(x, 3, 16, "model.0", 2), 16, 32, "model.1", 2), 32, "model.2")
    c2 = bottleneck(block(c1, 32, 48, "model.3", 2), 48, "model.4")
    y = block(c2, 48, 32, "model.5.cv1", k=1)
    pools = [y]
    for k in range(3):
        pools.append(
            net("MaxPool", pools[-1], kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4, name=f"/model.5/m{k}/MaxPool")
        )
    c3 = block(net("Concat", *pools, axis=1, name="/model.5/Concat"), 128, 48, "model.5.cv2", k=1)
    scales = net.const(np.array([1, 1, 2, 2], np.float32))
    up = net(
        "Resize", c3, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        name="/model.6/Resize",
    )  # fmt: skip
    joined = net("Concat", up, c1, axis=1, name="/model.7/Concat")
    n1 = bottleneck(block(joined, 80, 32, "model.8.cv1"), 32, "model.8.m")
    n2 = block(net("Concat", block(n1, 32, 32, "model.9", 2), c3, axis=1, name="/model.10/Concat"), 80, 48, "model.11")
    small = net("MaxPool", n2, kernel_shape=[2, 2], strides=[2, 2], name="/model.12/MaxPool")
    heads = [
        net.conv(z, c, 21, 1, w=f"model.13.{k}.weight", name=f"/model.13/{k}/Conv")
        for k, (z, c) in enumerate(((n1, 32), (small, 48)))
    ]
    return net.model(*heads)
