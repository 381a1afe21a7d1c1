"""Receptive fields against the support of numerical gradients, and the arithmetic operator by operator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from inspector import open_model
from inspector.graph import read_graph
from inspector.receptive import compute_receptive_field, compute_receptive_fields
from tests.conftest import MakeModel
from tests.foreign import Net

SIDE = 33


def support(path: Path, position: tuple[int, int], size: int = SIDE, axes: tuple[int, int] = (2, 3)) -> Any:
    """(top, left, bottom, right) of the input pixels that change the first output at `position`, by trying each."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    base = rng.uniform(0.5, 1.5, (1, 1, size, size)).astype(np.float32)

    def at(x: Any) -> Any:
        value = session.run(None, {"x": x})[0]
        return np.take(np.take(value, position[0], axis=axes[0]), position[1], axis=axes[1] - 1)

    before = at(base)
    changed = np.zeros((size, size), bool)
    for y in range(size):
        for x in range(size):
            bumped = base.copy()
            bumped[0, 0, y, x] += 50
            changed[y, x] = np.abs(at(bumped) - before).max() > 1e-6
    ys, xs = np.nonzero(changed.any(1))[0], np.nonzero(changed.any(0))[0]
    return (int(ys[0]), int(xs[0]), int(ys[-1]) + 1, int(xs[-1]) + 1) if len(ys) else None


def clipped(path: Path, position: tuple[int, int], size: int = SIDE) -> tuple[int, int, int, int]:
    graph = read_graph(path)
    box = compute_receptive_fields(graph, [graph.outputs[0]])[graph.outputs[0]].box(position, (size, size))
    left, top, right, bottom = box
    return max(top, 0), max(left, 0), min(bottom, size), min(right, size)


def ones(net: Net, cout: int, cin: int, k: int) -> str:
    """Positive weights, so that nothing cancels."""
    return net.const(np.ones((cout, cin, k, k), np.float32))


def conv(net: Net, x: str, k: int = 3, **more: Any) -> str:
    return net("Conv", x, ones(net, 1, 1, k), kernel_shape=[k, k], **more)


EXACT: dict[str, Callable[[Net, str], str]] = {
    "stride and padding": lambda n, x: conv(n, conv(n, x, 5, strides=[2, 2], pads=[2] * 4), 3, pads=[1] * 4),
    "dilation": lambda n, x: conv(n, x, 3, dilations=[3, 2], pads=[3, 2, 3, 2]),
    "unlike sides": lambda n, x: n(
        "Conv", x, n.const(np.ones((1, 1, 1, 5), np.float32)), kernel_shape=[1, 5], pads=[0, 2, 0, 2], strides=[1, 2]
    ),
    "average pool": lambda n, x: n(
        "AveragePool", conv(n, x, 3, pads=[1] * 4), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4
    ),
    "residual": lambda n, x: n("Add", conv(n, conv(n, x, 3, pads=[1] * 4), 3, pads=[1] * 4), x),
    "concat of branches": lambda n, x: conv_two(n, n("Concat", conv(n, x, 5, pads=[2] * 4), x, axis=1)),
    "pad and slice": lambda n, x: n(
        "Slice",
        n("Pad", conv(n, x, 3), n.const(np.array([0, 0, 2, 3, 0, 0, 0, 0]))),
        n.const(np.array([1, 2])),
        n.const(np.array([30, 30])),
        n.const(np.array([2, 3])),
        n.const(np.array([2, 1])),
    ),
    "transposed there and back": lambda n, x: conv(
        n, n("Transpose", n("Relu", n("Transpose", x, perm=[0, 2, 3, 1])), perm=[0, 3, 1, 2]), 3, pads=[1] * 4
    ),
    "same padding": lambda n, x: conv(n, x, 3, strides=[2, 2], auto_pad="SAME_UPPER"),
    "valid": lambda n, x: conv(n, x, 3, strides=[2, 2], auto_pad="VALID"),
    "transposed convolution": lambda n, x: n(
        "ConvTranspose", x, ones(n, 1, 1, 4), kernel_shape=[4, 4], strides=[2, 2], pads=[1] * 4
    ),
    "depth to space": lambda n, x: n(
        "DepthToSpace", n("Conv", x, ones(n, 4, 1, 3), kernel_shape=[3, 3], pads=[1] * 4), blocksize=2
    ),
    "space to depth": lambda n, x: n(
        "SpaceToDepth", n("Slice", x, *(n.const(np.array(v)) for v in ([0, 0], [32, 32], [2, 3]))), blocksize=2
    ),
    "shuffle": lambda n, x: conv_two(
        n,
        n(
            "Reshape",
            n(
                "Transpose",
                n(
                    "Reshape",
                    n("Conv", x, ones(n, 2, 1, 3), kernel_shape=[3, 3], pads=[1] * 4),
                    n.const(np.array([1, 2, 1, SIDE, SIDE])),
                ),
                perm=[0, 2, 1, 3, 4],
            ),
            n.const(np.array([1, 2, SIDE, SIDE])),
        ),
    ),
    "layer norm over channels": lambda n, x: n(
        "MatMul", n("Transpose", conv(n, x, 3, pads=[1] * 4), perm=[0, 2, 3, 1]), n.const(np.ones((1, 1), np.float32))
    ),
}


def conv_two(net: Net, x: str) -> str:
    return net("Conv", x, ones(net, 1, 2, 3), kernel_shape=[3, 3], pads=[1] * 4)


@pytest.mark.parametrize("name", EXACT)
def test_the_box_is_the_support_of_the_gradient(name: str, make_model: MakeModel) -> None:
    path = make_model(EXACT[name], shape=(1, 1, SIDE, SIDE))
    last = name == "layer norm over channels"
    # At a border the holes of a dilation, and what is nothing but padding, are not seen.
    for position in ((7, 6), (8, 9), *([] if name in ("dilation", "pad and slice") else [(0, 1)])):
        assert clipped(path, position) == support(path, position, axes=(1, 2) if last else (2, 3))


@pytest.mark.parametrize(
    ("mode", "how"), [("nearest", "asymmetric"), ("linear", "half_pixel"), ("cubic", "half_pixel")]
)
def test_behind_a_resize_the_box_is_never_too_small(mode: str, how: str, make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        small = conv(net, x, 3, strides=[2, 2], pads=[1] * 4)
        scales = net.const(np.array([1, 1, 2, 2], np.float32))
        more = {"nearest_mode": "floor"} if mode == "nearest" else {}
        return net("Resize", small, "", scales, mode=mode, coordinate_transformation_mode=how, **more)

    path = make_model(build, shape=(1, 1, SIDE, SIDE))
    top, left, bottom, right = clipped(path, (15, 16))
    real = support(path, (15, 16))
    assert top <= real[0] <= top + 6
    assert left <= real[1] <= left + 6
    assert bottom - 6 <= real[2] <= bottom
    assert right - 6 <= real[3] <= right


@pytest.mark.parametrize(
    "build",
    [
        lambda n, x: n("GlobalAveragePool", conv(n, x)),
        lambda n, x: n("Flatten", conv(n, x)),
        lambda n, x: n("ReduceMean", conv(n, x), axes=[2, 3]),
        lambda n, x: n("MatMul", x, n("Transpose", x, perm=[0, 1, 3, 2])),
        lambda n, x: n("Softmax", n("Reshape", x, n.const(np.array([1, 1, SIDE * SIDE]))), axis=2),
    ],
)
def test_global_operators_see_everything(build: Callable[[Net, str], str], make_model: MakeModel) -> None:
    graph = read_graph(make_model(build, shape=(1, 1, SIDE, SIDE)))
    field = compute_receptive_fields(graph, graph.outputs)[graph.outputs[0]]
    assert field.size is None
    assert field.everything
    assert field.box((0, 0), (40, 50)) == (0, 0, 50, 40)


def test_a_gate_sees_everything_and_leaves_the_local_field(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        maps = conv(net, x, 3, pads=[1] * 4)
        gate = net("Sigmoid", net("GlobalAveragePool", maps))
        return net("Mul", maps, gate)

    graph = read_graph(make_model(build, shape=(1, 1, SIDE, SIDE)))
    field = compute_receptive_fields(graph, graph.outputs)[graph.outputs[0]]
    assert (field.size, field.everything) == ((3, 3), True)


def test_an_unknown_operator_counts_as_everything(make_model: MakeModel) -> None:
    graph = read_graph(make_model(lambda n, x: n("CumSum", x, n.const(np.array(3))), shape=(1, 1, SIDE, SIDE)))
    assert compute_receptive_fields(graph, graph.outputs)[graph.outputs[0]].size is None


def test_the_default_model(default_model: Path) -> None:
    model = open_model(default_model)
    first = model.layers[0]
    assert compute_receptive_field(model, first.tensor).size == (3, 3)
    sizes = [
        f.size[0] for x in model.layers if x.kind == "add" and (f := compute_receptive_field(model, x.tensor)).size
    ]
    assert sizes == sorted(sizes)
    assert compute_receptive_field(model, model.layers[-1].tensor).size is None


def field_of(path: Path) -> Any:
    graph = read_graph(path)
    return compute_receptive_fields(graph, [graph.outputs[0]])[graph.outputs[0]]


def test_what_a_fused_convolution_adds_is_seen_as_well(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        wide = conv(n, x, 7, pads=[3] * 4)
        weights, bias = ones(n, 1, 1, 3), n.const(np.zeros(1, np.float32))
        return n("FusedConv", x, weights, bias, wide, domain="com.microsoft", kernel_shape=[3, 3], pads=[1] * 4)

    assert field_of(make_model(build, shape=(1, 1, SIDE, SIDE), com_microsoft=1)).size == (7, 7)


def test_a_shortcut_into_a_norm_is_seen_as_well(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        near, wide = (n("Transpose", conv(n, x, k, pads=[k // 2] * 4), perm=[0, 2, 3, 1]) for k in (3, 7))
        gain = n.const(np.ones(1, np.float32))
        return n("SkipLayerNormalization", near, wide, gain, domain="com.microsoft")

    assert field_of(make_model(build, shape=(1, 1, SIDE, SIDE), com_microsoft=1)).size == (7, 7)


def test_quantized_maps_are_concatenated(make_model: MakeModel) -> None:
    """Scales and zero points stand between the maps."""

    def build(n: Net, x: str) -> str:
        scale, zero = n.const(np.float32(0.05)), n.const(np.uint8(128))
        parts = [n("QuantizeLinear", conv(n, x, k, pads=[k // 2] * 4), scale, zero) for k in (3, 5)]
        given = [name for part in parts for name in (part, scale, zero)]
        return n("QLinearConcat", scale, zero, *given, domain="com.microsoft", axis=1)

    assert field_of(make_model(build, shape=(1, 1, SIDE, SIDE), com_microsoft=1)).size == (5, 5)


@pytest.mark.parametrize("last", [0, 1])
def test_channels_in_blocks_and_out_of_them(last: int, make_model: MakeModel) -> None:
    """As onnxruntime's optimised files have them."""

    def build(n: Net, x: str) -> str:
        nchwc = "com.microsoft.nchwc"
        x = n("Conv", x, ones(n, 8, 1, 3), kernel_shape=[3, 3], pads=[1] * 4)
        x = n("Transpose", x, perm=[0, 2, 3, 1]) if last else x
        x = n("ReorderInput", x, domain=nchwc, channels_last=last)
        x = n("Conv", x, ones(n, 8, 8, 3), domain=nchwc, kernel_shape=[3, 3], pads=[1] * 4)
        x = n("ReorderOutput", x, domain=nchwc, channels=8, channels_last=last)
        return n("Transpose", x, perm=[0, 3, 1, 2]) if last else x

    found = field_of(make_model(build, shape=(1, 1, SIDE, SIDE), com_microsoft_nchwc=1))
    assert (found.size, found.everything) == ((5, 5), False)


def test_more_axes_by_broadcasting(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        return n("Expand", conv(n, x, 3, pads=[1] * 4), n.const(np.array([2, 1, 1, SIDE, SIDE])))

    assert field_of(make_model(build, shape=(1, 1, SIDE, SIDE))).size == (3, 3)


def test_as_many_as_the_picture_says(make_model: MakeModel) -> None:
    """A tensor whose size is computed from the picture depends on all of it; one of its own size on nothing."""

    def build(n: Net, x: str) -> tuple[str, str]:
        count = n("ReduceSum", n("Cast", n("Relu", x), to=7), keepdims=0)
        many = n("ConstantOfShape", n("Reshape", count, n.const(np.array([1]))), out="many")
        return many, n("ConstantOfShape", n("Shape", x), out="own")

    graph = read_graph(make_model(build))
    assert compute_receptive_fields(graph, ["many"])["many"].everything
    assert not compute_receptive_fields(graph, ["own"])["own"].everything


def test_a_damaged_node_may_see_everything(make_model: MakeModel) -> None:
    """An axis that the tensor has not: nothing is known of what stands behind."""
    path = make_model(lambda n, x: n("Transpose", x, perm=[0, 0, 2, 7], out="y"))
    assert compute_receptive_fields(read_graph(path), ["y"], "NCHW")["y"].everything
