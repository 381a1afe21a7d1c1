"""Random networks of structures that are rare in classifiers, on floats, on grids of integers and on bounded inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from tests.foreign import FLOAT, UINT8, Net

CHANNELS = 8
RANGE = (-2.2, 2.2)
"""Between what the values of a bounded input lie."""


class StructuredNetwork:
    """Builds one network from a seed: a few structures one behind another, all 8 channels of 8 x 8.

    Args:
        seed: Chooses all.
        kind: ``plain``; ``grid``: tensors are quantized and dequantized; ``bounded``: values lie in a known range.

    Attributes:
        used: The structures, in their order.
        integers: Whether its input is uint8.
    """

    def __init__(self, seed: int, kind: str) -> None:
        self.rng = np.random.default_rng(seed)
        self.net = Net(seed, opset=16)
        self.kind = kind
        self.used: list[str] = []
        self.outputs: list[str] = []
        self.integers = kind == "bounded" and self.rng.random() < 0.5
        self.x = self.net.input("x", (1, 3, 8, 8), UINT8 if self.integers else FLOAT)

    def build(self) -> onnx.ModelProto:
        if self.integers:
            self.x = self.net("Cast", self.x, to=onnx.TensorProto.FLOAT)
            shifted = self.net("Sub", self.x, self.net.const(self.rng.uniform(100, 130, (3, 1, 1))))
            self.x = self.net("Div", shifted, self.net.const(self.rng.uniform(58, 60, (3, 1, 1))))
            self.x = self.net("Clip", self.x, *map(self.net.const, RANGE))
        self.x = self.net("Relu", self.conv(self.x, 3))
        for pick in self.rng.integers(0, len(STRUCTURES), int(self.rng.integers(2, 5))):
            self.used.append(STRUCTURES[pick].__name__)
            self.x = STRUCTURES[pick](self, self.x)
            if self.rng.random() < 0.5:
                self.x = self.net(str(self.rng.choice(["Relu", "Sigmoid", "HardSwish", "LeakyRelu"])), self.x)
            if self.kind == "grid":
                self.x = self.to_grid(self.x)
        self.x = self.conv(self.net("Relu", self.conv(self.x)))
        return self.net.model(self.x, *self.outputs)

    # What structures are made of.

    def plant(self, weight: NDArray[Any], bias: NDArray[Any]) -> None:
        """Make some channels do nothing, or the same as their neighbour."""
        for k in self.rng.choice(len(weight), int(self.rng.integers(0, 5)), replace=False):
            other, how = (k + 1) % len(weight), self.rng.integers(7)
            if how < 2:
                weight[k], bias[k] = 0, bias[k] * how
            elif how < 4:
                weight[k], bias[k] = weight[other] * (how - 1), bias[other] * (how - 1)
            elif how == 4 and weight.shape[1] == CHANNELS:
                weight[:, k] = 0
            else:  # beyond what an activation lets pass, if the range of what comes in is known
                reach = RANGE[1] * np.abs(weight[k]).sum()
                bias[k] = -reach - 0.1 if how == 5 else reach

    def conv(self, x: str, inputs: int = CHANNELS, groups: int = 1, size: int = 0) -> str:
        size = size or int(self.rng.choice([1, 3]))
        weight = self.rng.standard_normal((CHANNELS, inputs // groups, size, size)) * 0.4
        bias = self.rng.standard_normal(CHANNELS) * 0.3
        self.plant(weight, bias)
        pads = [size // 2] * 4
        if self.kind != "grid":
            return self.net("Conv", x, self.net.const(weight), self.net.const(bias), pads=pads, group=groups)
        scale = np.maximum(np.abs(weight).reshape(CHANNELS, -1).max(axis=1), 1e-3) / 127
        stored = self.net.const(np.rint(weight / scale.reshape(-1, 1, 1, 1)).astype(np.int8))
        read = self.net("DequantizeLinear", stored, self.net.const(scale), self.net.const(np.zeros(8, np.int8)), axis=0)
        return self.net("Conv", self.to_grid(x), read, self.net.const(bias), pads=pads, group=groups)

    def to_grid(self, x: str) -> str:
        scale = self.net.const(np.float32(2.0 ** -int(self.rng.integers(4, 7))))
        zero = self.net.const(self.rng.choice([0, 7, 128]).astype(np.uint8))
        return self.net("DequantizeLinear", self.net("QuantizeLinear", x, scale, zero), scale, zero)

    def pick(self, *shape: int, low: int = 0, high: int = 2) -> str:
        """A constant of small whole numbers."""
        return self.net.const(self.rng.integers(low, high, shape).astype(np.float32))

    def whole(self, *numbers: int) -> str:
        return self.net.const(np.array(numbers, np.int64))


Structure = Callable[[StructuredNetwork, str], str]
STRUCTURES: list[Structure] = []


def structure(build: Structure) -> Structure:
    STRUCTURES.append(build)
    return build


@structure
def shuffled(made: StructuredNetwork, x: str) -> str:
    parts = made.net("Transpose", made.net("Reshape", x, made.whole(0, 2, 4, 8, 8)), perm=[0, 2, 1, 3, 4])
    return made.net("Reshape", parts, made.whole(0, 8, 8, 8))


@structure
def split(made: StructuredNetwork, x: str) -> str:
    names = [made.net._fresh("part"), made.net._fresh("part")]
    made.net("Split", x, made.whole(3, 5), out=names, axis=1)
    return made.net("Concat", names[1], names[0], axis=1)


@structure
def gathered(made: StructuredNetwork, x: str) -> str:
    return made.net("Gather", x, made.whole(*made.rng.integers(-8, 8, 8)), axis=1)


@structure
def sloped(made: StructuredNetwork, x: str) -> str:
    return made.net("PRelu", x, made.net.const(made.rng.integers(-1, 3, (8, 1, 1)) * 0.5))


@structure
def normed_by_group(made: StructuredNetwork, x: str) -> str:
    rows = made.net("Reshape", x, made.whole(0, 2, -1))
    rows = made.net("InstanceNormalization", rows, made.net.const(np.ones(2)), made.net.const(np.zeros(2)))
    return made.net("Mul", made.net("Reshape", rows, made.whole(0, 8, 8, 8)), made.pick(8, 1, 1))


@structure
def normed_by_channel(made: StructuredNetwork, x: str) -> str:
    return made.net("InstanceNormalization", x, made.pick(8, high=3), made.pick(8))


@structure
def normed(made: StructuredNetwork, x: str) -> str:
    more = [made.pick(8, low=-1), made.pick(8), made.pick(8), made.pick(8, high=3)]
    return made.net("BatchNormalization", x, *more, epsilon=1e-3)


@structure
def summed(made: StructuredNetwork, x: str) -> str:
    weight = made.rng.standard_normal((8, 8))
    made.plant(weight, np.zeros(8))
    return made.net("Einsum", x, made.net.const(weight), equation="nchw,kc->nkhw")


@structure
def attended(made: StructuredNetwork, x: str) -> str:
    rows = made.net("Reshape", x, made.whole(0, 8, 64))
    scores = made.net("MatMul", rows, made.net("Transpose", rows, perm=[0, 2, 1]))
    return made.net("Reshape", made.net("MatMul", made.net("Softmax", scores, axis=-1), rows), made.whole(0, 8, 8, 8))


@structure
def transposed(made: StructuredNetwork, x: str) -> str:
    weight, bias, groups = made.rng.standard_normal((8, 8, 3, 3)) * 0.3, made.pick(8), int(made.rng.choice([1, 4]))
    weight[:, made.rng.integers(8)] = 0
    weight[made.rng.integers(8)] = 0
    return made.net("ConvTranspose", x, made.net.const(weight[:, : 8 // groups]), bias, pads=[1] * 4, group=groups)


@structure
def grouped(made: StructuredNetwork, x: str) -> str:
    return made.conv(x, groups=int(made.rng.choice([2, 4, 8])))


@structure
def into_depth(made: StructuredNetwork, x: str) -> str:
    deep = made.net("SpaceToDepth", x, blocksize=2)
    return made.net("DepthToSpace", deep, blocksize=2, mode=str(made.rng.choice(["CRD", "DCR"])))


@structure
def out_of_depth(made: StructuredNetwork, x: str) -> str:
    wide = made.net("DepthToSpace", x, blocksize=2, mode=str(made.rng.choice(["CRD", "DCR"])))
    return made.net("SpaceToDepth", wide, blocksize=2)


@structure
def shared(made: StructuredNetwork, x: str) -> str:
    weight, bias = made.rng.standard_normal((8, 8, 3, 3)) * 0.3, made.rng.standard_normal(8)
    made.plant(weight, bias)
    both = made.net.const(weight), made.net.const(bias)
    return made.net("Conv", made.net("Relu", made.net("Conv", x, *both, pads=[1] * 4)), *both, pads=[1] * 4)


@structure
def pooled(made: StructuredNetwork, x: str) -> str:
    kind, more = str(made.rng.choice(["MaxPool", "AveragePool"])), {}
    if kind == "AveragePool":
        more["count_include_pad"] = int(made.rng.integers(2))
    pads, ceil = [int(made.rng.integers(2))] * 4, int(made.rng.integers(2))
    small = made.net(kind, x, kernel_shape=[3, 3], strides=[2, 2], pads=pads, ceil_mode=ceil, **more)
    return made.net("Resize", small, "", "", made.whole(1, 8, 8, 8), mode="nearest")


@structure
def resized(made: StructuredNetwork, x: str) -> str:
    wide = made.net("Resize", x, "", "", made.whole(1, 8, 11, 7), mode=str(made.rng.choice(["linear", "cubic"])))
    return made.net("Resize", wide, "", "", made.whole(1, 8, 8, 8), mode="nearest")


@structure
def chosen(made: StructuredNetwork, x: str) -> str:
    return made.net("Where", made.net("Greater", x, made.net.const(0.2)), x, made.conv(x))


@structure
def branched(made: StructuredNetwork, x: str) -> str:
    """Two graphs of their own, which read the tensor by its name."""
    mean = made.net("ReduceMean", x, keepdims=0)
    graphs = {}
    for branch, op in (("then_branch", "Neg"), ("else_branch", "Abs")):
        name = made.net._fresh(op)
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        graphs[branch] = onnx.helper.make_graph([onnx.helper.make_node(op, [x], [name])], branch, [], [value])
    return made.net("If", made.net("Greater", mean, made.net.const(0.3)), **graphs)


@structure
def given_out(made: StructuredNetwork, x: str) -> str:
    made.outputs.append(made.net("Sigmoid", x))
    return x


@structure
def softened(made: StructuredNetwork, x: str) -> str:
    return made.net("Softmax", x, axis=int(made.rng.choice([1, 3])))


@structure
def normed_by_neighbours(made: StructuredNetwork, x: str) -> str:
    return made.net("LRN", x, size=3)


@structure
def sliced(made: StructuredNetwork, x: str) -> str:
    turned = made.net("Slice", x, *(made.whole(k) for k in (-1, -9, 1, -2)))
    return made.net("Concat", turned, made.net("Slice", x, *(made.whole(k) for k in (0, 8, 1, 2))), axis=1)


@structure
def padded(made: StructuredNetwork, x: str) -> str:
    if made.rng.random() < 0.5:
        wide = made.net("Pad", x, made.whole(0, 2, 0, 0, 0, 1, 0, 0), made.net.const(0.5))
        return made.net("Slice", wide, made.whole(1), made.whole(9), made.whole(1))
    mode = str(made.rng.choice(["constant", "reflect", "edge"]))
    wide = made.net("Pad", x, made.whole(0, 0, 1, 1, 0, 0, 1, 1), made.net.const(-0.5), mode=mode)
    return made.net("Slice", wide, made.whole(1, 0), made.whole(9, 8), made.whole(2, 3))


@structure
def divided(made: StructuredNetwork, x: str) -> str:
    size = made.net("ReduceL2", x, axes=[1], keepdims=1)
    return made.net("Div", x, made.net("Add", size, made.net.const(0.1)))


@structure
def compared(made: StructuredNetwork, x: str) -> str:
    return made.net(str(made.rng.choice(["Max", "Min", "Mul", "Sub"])), x, made.conv(x))


@structure
def ranked(made: StructuredNetwork, x: str) -> str:
    return made.net("Add", x, made.net("Cast", made.net("ArgMax", x, axis=1, keepdims=1), to=onnx.TensorProto.FLOAT))


@structure
def tiled(made: StructuredNetwork, x: str) -> str:
    wide = made.net("Tile", x, made.whole(1, 2, 1, 1))
    return made.net("Slice", wide, made.whole(3), made.whole(11), made.whole(1))


@structure
def centred(made: StructuredNetwork, x: str) -> str:
    axes = [1] if made.rng.random() < 0.5 else [2, 3]
    return made.net("Sub", x, made.net("ReduceMean", x, axes=axes, keepdims=1))


@structure
def joined_with_itself(made: StructuredNetwork, x: str) -> str:
    return made.net("Conv", made.net("Concat", x, x, axis=1), made.net.weight((8, 16, 1, 1)), made.pick(8))


@structure
def stepped(made: StructuredNetwork, x: str) -> str:
    return made.net(str(made.rng.choice(["Ceil", "Floor", "Round"])), made.net("Mul", x, made.net.const(0.4)))


@structure
def multiplied_by_zero(made: StructuredNetwork, x: str) -> str:
    """Constants that a sum over the places hides."""
    y = made.net("Add", made.net("Mul", x, made.pick(8, 1, 1)), made.net.const(0.3))
    return made.net("Sub", y, made.net("ReduceSum", y, made.whole(2, 3), keepdims=1))


@structure
def gated(made: StructuredNetwork, x: str) -> str:
    gate = made.conv(made.net("GlobalAveragePool", x), size=1)
    return made.net("Mul", x, made.net(str(made.rng.choice(["Sigmoid", "HardSigmoid"])), gate))
