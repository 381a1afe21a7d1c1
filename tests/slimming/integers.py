"""Random networks of operators that compute with integers, as quantizers for onnxruntime write them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from tests.foreign import Net

CHANNELS = 8
MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Grid:
    """A uint8 tensor, with the names of its scale and zero point."""

    name: str
    scale: str
    zero: str
    step: float

    @property
    def parts(self) -> tuple[str, str, str]:
        return self.name, self.scale, self.zero


class IntegerNetwork:
    """Builds one network from a seed, of `QLinearConv` and its like.

    Attributes:
        used: The operators, in their order.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.net = Net(seed, opset=16, com_microsoft=1)
        self.used: list[str] = []

    def build(self) -> onnx.ModelProto:
        x = self.grid()
        x = self.conv(self.put(x, self.net("QuantizeLinear", self.net.input("x", (1, 3, 8, 8)), x.scale, x.zero)), 3)
        kinds = ("QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearLeakyRelu", "QLinearSigmoid",
                 "QLinearAveragePool", "MaxPool", "gate", "conv", "grouped", "depthwise")  # fmt: skip
        for pick in self.rng.integers(0, len(kinds), int(self.rng.integers(2, 6))):
            self.used.append(kinds[pick])
            x = self.add(kinds[pick], x)
        x = self.conv(x)
        y = self.net("Relu", self.net("DequantizeLinear", *x.parts))
        return self.net.model(self.net("Conv", y, self.net.weight((4, CHANNELS, 1, 1))))

    def grid(self) -> Grid:
        """A grid for a tensor that is made next."""
        step = float(np.float32(self.rng.choice([1 / 64, 1 / 16, self.rng.uniform(0.01, 0.06)])))
        zero = self.net.const(np.uint8(self.rng.choice([0, 7, 128])))
        return Grid("", self.net.const(np.float32(step)), zero, step)

    def put(self, grid: Grid, name: str) -> Grid:
        return Grid(name, grid.scale, grid.zero, grid.step)

    def conv(self, x: Grid, inputs: int = CHANNELS, groups: int = 1, size: int = 0) -> Grid:
        size = size or int(self.rng.choice([1, 3]))
        weight = np.rint(self.rng.standard_normal((CHANNELS, inputs // groups, size, size)) * 25)
        bias = np.rint(self.rng.standard_normal(CHANNELS) * 0.3 / (0.02 * x.step))
        for k in self.rng.choice(CHANNELS, int(self.rng.integers(0, 5)), replace=False):
            how = self.rng.integers(6)
            if how < 2:
                weight[k], bias[k] = 0, bias[k] * how
            elif how == 2:
                weight[k], bias[k] = weight[k - 1], bias[k - 1]
            elif how == 3 and weight.shape[1] == CHANNELS:
                weight[:, k] = 0
            else:  # beyond either end of the grid
                bias[k] = 1e6 if how == 4 else -1e6
        offset = int(self.rng.choice([0, 120]))
        kind = np.uint8 if offset else np.int8
        ends = np.iinfo(kind)
        stored = self.net.const(np.clip(weight + offset, ends.min, ends.max).astype(kind))
        own, out = (self.net.const(np.float32(0.02)), self.net.const(kind(offset))), self.grid()
        name = self.net("QLinearConv", *x.parts, stored, *own, out.scale, out.zero,
                        self.net.const(bias.astype(np.int32)), pads=[size // 2] * 4, group=groups)  # fmt: skip
        return self.put(out, name)

    def add(self, kind: str, x: Grid) -> Grid:
        if kind in ("conv", "grouped", "depthwise"):
            return self.conv(x, groups={"conv": 1, "grouped": 2, "depthwise": CHANNELS}[kind])
        if kind == "MaxPool":
            return self.put(x, self.net(kind, x.name, kernel_shape=[3, 3], pads=[1] * 4))
        out = self.grid()
        ends = (out.scale, out.zero)
        if kind == "gate":
            mean = self.put(out, self.net("QLinearGlobalAveragePool", *x.parts, *ends, domain=MICROSOFT))
            by, whole = self.conv(mean, size=1), self.grid()
            product = self.net("QLinearMul", *x.parts, *by.parts, whole.scale, whole.zero, domain=MICROSOFT)
            return self.put(whole, product)
        if kind == "QLinearConcat":
            joined = self.net(kind, *ends, *x.parts, *self.conv(x).parts, axis=1, domain=MICROSOFT)
            return self.conv(self.put(out, joined), 2 * CHANNELS)
        if kind in ("QLinearAdd", "QLinearMul"):
            return self.put(out, self.net(kind, *x.parts, *self.conv(x).parts, *ends, domain=MICROSOFT))
        more: dict[str, object] = {}
        if kind == "QLinearLeakyRelu":
            more = {"alpha": float(self.rng.choice([0.0, 0.1, 2.0]))}
        elif kind == "QLinearAveragePool":
            more = {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": int(self.rng.integers(2))}
        return self.put(out, self.net(kind, *x.parts, *ends, domain=MICROSOFT, **more))
