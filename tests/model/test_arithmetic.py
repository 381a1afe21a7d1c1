"""A picture that the graph normalises in any of the ways that ONNX has for it: the values that go in are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from inspector import open_model
from inspector.graph import read_graph
from inspector.image import Preprocess
from inspector.model import constants
from inspector.model.arithmetic import find_arithmetic
from inspector.model.constants import find_constant
from tests.conftest import MakeModel
from tests.foreign import Net

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
CAFFE = np.array([103.939, 116.779, 123.68], np.float32)
WAYS: dict[str, tuple[str, Callable[[Net, str], str]]] = {}


def way(name: str, wanted: str) -> Callable[[Callable[[Net, str], str]], None]:
    def add(function: Callable[[Net, str], str]) -> None:
        WAYS[name] = (wanted, function)

    return add


def channels(values: np.ndarray) -> np.ndarray:
    return values.reshape(1, 3, 1, 1).astype(np.float32)


def ints(n: Net, *values: int) -> str:
    return n.const(np.array(values, np.int64))


def mixed(n: Net, x: str, table: np.ndarray, bias: np.ndarray) -> str:
    return n("Conv", x, n.const(table.reshape(3, 3, 1, 1).astype(np.float32)), n.const(bias.astype(np.float32)))


def scaled(scale: float, how: str) -> Callable[[Net, str], str]:
    factor, shift = 1 / (scale * STD), -MEAN / STD

    def build(n: Net, x: str) -> str:
        if how == "a convolution":
            return mixed(n, x, np.diag(factor), shift)
        if how == "depthwise":
            return n("Conv", x, n.const(factor.reshape(3, 1, 1, 1)), n.const(shift), group=3)
        return n("Add", n("Mul", x, n.const(channels(factor))), n.const(channels(shift)))

    return build


for _how in ("a convolution", "depthwise", "a factor and a shift"):
    way(f"{_how} of bytes", "raw")(scaled(255, _how))
    way(f"{_how} of numbers to 1", "unit")(scaled(1, _how))


def clipped(low: float, high: float) -> Callable[[Net, str], str]:
    return lambda n, x: n("Clip", x, n.const(np.float32(low)), n.const(np.float32(high)))


for _ends, _wanted in (((0, 255), "raw"), ((0, 1), "unit"), ((-1, 1), "signed"), ((0, 6), "imagenet")):
    way(f"clipped to {_ends}", _wanted)(clipped(*_ends))


def on_a_grid(step: float, zero: Any) -> Callable[[Net, str], str]:
    def build(n: Net, x: str) -> str:
        pair = n.const(np.float32(step)), n.const(zero)
        return n("DequantizeLinear", n("QuantizeLinear", x, *pair), *pair)

    return build


for _step, _zero, _wanted in (
    (1 / 255, np.uint8(0), "unit"), (2 / 255, np.uint8(128), "signed"), (1, np.uint8(0), "raw"),
    (1 / 255, np.int8(-128), "unit"), (2 / 255, np.int8(0), "imagenet"), (2.64 / 127, np.int8(0), "imagenet"),
    (255 / 127, np.int8(0), "raw"), (4.76 / 255, np.uint8(113), "imagenet"),
):  # fmt: skip
    way(f"a grid of {_step:.4f} from {_zero!r}", _wanted)(on_a_grid(_step, _zero))


@way("blue first by a convolution", "raw")
def _(n: Net, x: str) -> str:
    return mixed(n, x, np.eye(3)[::-1], -CAFFE)


@way("blue first without turning", "BGR raw")
def _(n: Net, x: str) -> str:
    return mixed(n, x, np.eye(3), -CAFFE)


@way("channels apart", "raw")
def _(n: Net, x: str) -> str:
    parts = ["red", "green", "blue"]
    n("Split", x, ints(n, 1, 1, 1), out=parts, axis=1)
    moved = [n("Sub", p, n.const(np.float32(255 * m))) for p, m in zip(parts, MEAN, strict=True)]
    return n("Concat", *(n("Div", p, n.const(np.float32(255 * s))) for p, s in zip(moved, STD, strict=True)), axis=1)


@way("channels picked one by one and turned", "raw")
def _(n: Net, x: str) -> str:
    picked = [n("Unsqueeze", n("Gather", x, n.const(np.array(k)), axis=1), ints(n, 1)) for k in (2, 1, 0)]
    return n("Concat", *(n("Sub", p, n.const(m)) for p, m in zip(picked, CAFFE, strict=True)), axis=1)


@way("as torchvision's GoogLeNet turns ImageNet's statistics to -1 and 1", "imagenet")
def _(n: Net, x: str) -> str:
    parts = [n("Unsqueeze", n("Gather", x, n.const(np.array(k)), axis=1), ints(n, 1)) for k in range(3)]
    scaled = [n("Mul", p, n.const(np.float32(s / 0.5))) for p, s in zip(parts, STD, strict=True)]
    return n(
        "Concat",
        *(n("Add", p, n.const(np.float32((m - 0.5) / 0.5))) for p, m in zip(scaled, MEAN, strict=True)),
        axis=1,
    )


@way("behind a frame, a crop and another size", "raw")
def _(n: Net, x: str) -> str:
    y = n("Pad", x, ints(n, 0, 0, 1, 1, 0, 0, 1, 1))
    y = n("Slice", y, ints(n, 0, 0), ints(n, 9, 9), ints(n, 2, 3))
    y = n("Resize", y, "", n.const(np.array([1, 1, 2, 2], np.float32)), mode="linear")
    return n("Div", y, n.const(np.float32(255)))


@way("by constants that are computed", "raw")
def _(n: Net, x: str) -> str:
    y = n("Sub", x, n("Unsqueeze", n.const(255 * MEAN), ints(n, 1, 2)))
    variance = n("Sqrt", n.const(channels((255 * STD) ** 2)))
    return n("Div", y, n("Max", variance, n("Cast", n.const(np.array(1, np.int64)), to=1)))


@way("axes gone and back", "raw")
def _(n: Net, x: str) -> str:
    y = n("Unsqueeze", n("Squeeze", x, ints(n, 0)), ints(n, 0))
    y = n("Reshape", y, ints(n, -1, 3, 8, 8))
    return n("Transpose", n("Transpose", n("Div", y, n.const(np.float32(255))), perm=[2, 0, 1, 3]), perm=[1, 2, 0, 3])


@way("on two ways alike", "raw")
def _(n: Net, x: str) -> str:
    ways = [n("Div", x, n.const(np.float32(255))) for _ in range(2)]
    n("Shape", x)
    return n("Add", *(n.conv(y, 3, 3) for y in ways))


@way("on two ways not alike", "imagenet")
def _(n: Net, x: str) -> str:
    return n("Add", n.conv(n("Div", x, n.const(np.float32(255))), 3, 3), n.conv(x, 3, 3))


@way("a convolution that the network has learned", "imagenet")
def _(n: Net, x: str) -> str:
    return mixed(n, x, np.diag([0.31, -0.72, 1.4]), np.array([0.1, 0.2, -0.3]))


@pytest.mark.parametrize("name", WAYS)
def test_what_goes_in(name: str, make_model: MakeModel) -> None:
    wanted, build = WAYS[name]

    def network(n: Net, x: str) -> str:
        return n("GlobalAveragePool", n("Relu", n.conv(build(n, x), 3, 4)))

    model = open_model(make_model(network))
    expected = Preprocess.named(wanted.removeprefix("BGR "), (8, 8))
    assert model.preprocess == (replace(expected, colour="BGR") if wanted.startswith("BGR") else expected)
    assert model.activations(np.zeros((8, 8, 3), np.uint8))


def test_what_the_line_says_of_a_limit(make_model: MakeModel) -> None:
    def network(n: Net, x: str) -> str:
        return n("GlobalAveragePool", n.conv(n("Clip", x, n.const(np.float32(0)), n.const(np.float32(1))), 3, 4))

    [line] = [line for line in open_model(make_model(network)).assumed if line.startswith("preprocess")]
    assert line == (
        "preprocess unit (values 0 to 1: the graph takes values from 0 to 1 by Clip; the picture stretched to 8x8)"
    )


# --- graphs that are not meant well -----------------------------------------------------------------


def looped(n: Net) -> str:
    def value(name: str, kind: int) -> onnx.ValueInfoProto:
        return onnx.helper.make_tensor_value_info(name, kind, [])

    nodes = [onnx.helper.make_node("Identity", [a], [b]) for a, b in (("more", "again"), ("state", "next"))]
    body = onnx.helper.make_graph(
        nodes, "body", [value("k", 7), value("more", 9), value("state", 1)], [value("again", 9), value("next", 1)]
    )
    return n("Loop", n.const(np.array(10**9)), n.const(np.array(True)), n.const(np.float32(0)), body=body)


def doubled(n: Net) -> str:
    """Elements that are joined with themselves again and again."""
    name = n("Identity", n.const(np.ones(64)))
    for _ in range(5):
        name = n("Concat", name, name, name, axis=0)
    return name


HUGE: dict[str, Callable[[Net], str]] = {
    "ConstantOfShape": lambda n: n("ConstantOfShape", ints(n, 64, 3, 1024, 512)),
    "Expand": lambda n: n("Expand", n.const(np.ones(1)), ints(n, 64, 3, 1024, 512)),
    "Tile": lambda n: n("Tile", n.const(np.ones(1)), ints(n, 10**9)),
    "Range": lambda n: n("Range", *(n.const(np.array(k)) for k in (0, 10**9, 1))),
    "Pad": lambda n: n("Pad", n.const(np.ones(1)), ints(n, 0, 10**9)),
    "Loop": looped,
    "a broadcast": lambda n: n("Add", n.const(np.ones((4096, 1))), n.const(np.ones((1, 4096)))),
    "scales": lambda n: n("DequantizeLinear", n.const(np.ones((1, 4096), np.int8)), n.const(np.ones(4096)), axis=0),
}


@pytest.mark.parametrize("name", HUGE)
def test_opening_computes_no_constant_of_any_size(
    name: str, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def network(n: Net, x: str) -> str:
        return n("Add", x, n("Identity", HUGE[name](n), out="huge"))

    graph = read_graph(make_model(network))
    monkeypatch.setattr(constants, "_run", lambda *_: pytest.fail("it was computed"))
    assert find_constant(graph, "huge") is None
    assert find_arithmetic(graph, 1, 3) is None


def test_no_step_of_a_constant_is_larger_than_what_is_read(make_model: MakeModel) -> None:
    graph = read_graph(make_model(lambda n, x: n("Add", x, n("Identity", doubled(n), out="huge"))))
    assert find_constant(graph, "huge") is None


ODD: dict[str, Callable[[Net, str], str]] = {
    "Gather of nothing": lambda n, x: n("Gather", x, n.const(np.zeros(0, np.int64)), axis=1),
    "Slice by 0": lambda n, x: n("Slice", x, *(ints(n, k) for k in (0, 3, 1, 0))),
    "Slice of more axes": lambda n, x: n("Slice", x, ints(n, 0), ints(n, 3), ints(n, 1, 2)),
    "Slice of more ends": lambda n, x: n("Slice", x, ints(n, 0), ints(n, 3, 4), ints(n, 1)),
    "Split by less than nothing": lambda n, x: n("Split", x, ints(n, 5, -2), out=["a", "b"], axis=1),
    "Conv of a short bias": lambda n, x: mixed(n, x, np.eye(3), np.ones(2)),
    "variance below 0": lambda n, x: n(
        "BatchNormalization", x, *(n.const(np.full(3, k, np.float32)) for k in (1, 0, 0, -1))
    ),
    "Mul by infinity": lambda n, x: n("Mul", x, n.const(np.float32(np.inf))),
    "Mul by next to nothing": lambda n, x: n("Add", n("Mul", x, n.const(np.float32(1e-38))), n.const(np.float32(1))),
    "axes twice": lambda n, x: n("Unsqueeze", x, ints(n, 4, 4)),
    "a permutation that is none": lambda n, x: n("Transpose", x, perm=[1, 1, 2, 3]),
    "no zero point": lambda n, x: n("QuantizeLinear", x, n.const(np.float32(0.1)), n.const(np.zeros(0, np.uint8))),
    "channels that double": lambda n, x: joined(n, x),
}


def joined(n: Net, x: str) -> str:
    for _ in range(40):
        x = n("Concat", x, x, axis=1)
    return x


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_not_followed(name: str, make_model: MakeModel) -> None:
    """Nor does it fail, or warn of numbers: what runs the file tells what is wrong with it."""

    def network(n: Net, x: str) -> str:
        return n("Sub", n("Clip", ODD[name](n, x), n.const(np.float32(0)), n.const(np.float32(1))), n.const(np.ones(1)))

    graph = read_graph(make_model(network))
    found = find_arithmetic(graph, 1, 3)
    assert found is None or np.isfinite([found.factor, found.shift]).all()
