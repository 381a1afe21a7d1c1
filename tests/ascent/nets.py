"""Small networks for ascents, with every weight known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image

from inspector.image import Preprocess
from inspector.metadata import KEY, Metadata
from tests.foreign import Net


def save(net: Net, path: Path, *outputs: str, preprocess: str = "") -> Path:
    model = net.model(*outputs)
    if preprocess:
        document = Metadata(preprocess=Preprocess.named(preprocess)).dumps()
        onnx.helper.set_model_props(model, {KEY: document})
    path.write_bytes(model.SerializeToString())
    return path


def pixels(path: str | Path) -> NDArray[np.int64]:
    """The picture in a file, int (H, W, 3)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.int64)


def quadratic(path: Path, peak: tuple[float, float, float] = (0.2, 0.5, 0.7)) -> Path:
    """Minus the squared distance of each pixel from a color in [0, 1], one channel; its mean peaks at 0."""
    net = Net()
    x = net.input("x", ("N", 3, "H", "W"))
    # The preprocess is ImageNet's; undo it, so that the peak is a color in [0, 1].
    mean = np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 3, 1, 1)
    std = np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 3, 1, 1)
    color = net("Add", net("Mul", x, net.const(std)), net.const(mean))
    away = net("Sub", color, net.const(np.array(peak, np.float32).reshape(1, 3, 1, 1)))
    square = net("Mul", away, away)
    weight = net.const(-np.ones((1, 3, 1, 1), np.float32), "sum.weight")
    y = net("Conv", square, weight, kernel_shape=[1, 1], out="bowl", name="bowl")
    return save(net, path, y, preprocess="imagenet")


def small(path: Path, channels: int = 3, side: int | str = 32, dead: bool = False, seed: int = 1) -> Path:
    """Two convolutions with ReLUs, a pool between, a head of fixed size where the side is fixed."""
    net = Net(seed)
    x = net.input("x", ("N", channels, side, side))
    y = net("Relu", net.conv(x, channels, 8, w="one.weight", bias="one.bias"), name="one", out="one_out")
    y = net("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2], name="pool", out="pool_out")
    weight = net.weight((6, 8, 3, 3), "two.weight")
    bias = np.zeros(6, np.float32)
    if dead:
        bias[2] = -1e4
    y = net("Conv", y, weight, net.const(bias, "two.bias"), kernel_shape=[3, 3], pads=[1] * 4, name="two")
    y = net("Relu", y, name="two_act", out="two_out")
    if isinstance(side, int):
        flat = net("Flatten", y)
        y = net("Gemm", flat, net.weight((4, 6 * (side // 2) ** 2), "fc.weight"), transB=1, name="fc", out="fc_out")
    return save(net, path, y)
