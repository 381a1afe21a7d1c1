"""What rounding explains: sums that vanish, channels of one number, tokens in one matrix; and what it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import inspector
from inspector.comparing.axes import read_first, write_first
from inspector.layers import Layer
from tests.conftest import MakeModel
from tests.foreign import Net


def vanishing(net: Net, x: str) -> str:
    """Each convolution makes its values a millionth as large: their squares are none in float32."""
    for k, channels in enumerate((3, 6, 6, 6)):
        weight = net.const((net.rng.standard_normal((6, channels, 3, 3)) * 1e-6).astype(np.float32), f"c{k}.weight")
        x = net("Conv", x, weight, name=f"/c{k}/Conv", pads=[1] * 4)
    return x


def wide(net: Net, x: str) -> str:
    """Thirty thousand outputs, of which some are near 0 and hardly answer a change of what they are made of."""
    pooled = net("Flatten", net("GlobalAveragePool", net.conv(x, 3, 64, w="c.weight", name="/c/Conv")))
    return net("Gemm", pooled, net.weight((30_000, 64), "fc.weight"), transB=1, name="/fc/Gemm")


def tokens(net: Net, x: str) -> str:
    """A block that multiplies all tokens as one matrix, as torch's own attention ends."""
    places = net("Reshape", net.conv(x, 3, 12, k=4, stride=4, name="/c/Conv"), net.const([1, 12, -1], dtype=np.int64))
    rows = net("Transpose", places, perm=[2, 0, 1])
    scale, bias = net.weight((12,), "norm.weight"), net.weight((12,), "norm.bias")
    normal = net("LayerNormalization", rows, scale, bias, axis=-1, epsilon=1e-5, name="/norm/LayerNormalization")
    flat = net("Reshape", normal, net.const([-1, 12], dtype=np.int64))
    made = net("Gemm", flat, net.weight((12, 12), "out.weight"), transB=1, name="/out/Gemm")
    back = net("Reshape", made, net("Shape", rows))
    y = net("Add", rows, back, name="/add/Add")
    return net("Gemm", net("ReduceMean", y, axes=[0], keepdims=0), net.weight((5, 12), "fc.weight"), name="/fc/Gemm",
               transB=1)  # fmt: skip


def change(path: Path, name: str, to: Path) -> Path:
    """The same file with one weight a thousandth larger, or with another epsilon of a norm."""
    model = onnx.load(str(path))
    for node in model.graph.node:
        for entry in node.attribute:
            if entry.name == "epsilon" and name == "epsilon":
                entry.f = 1e-3
    for tensor in model.graph.initializer:
        if tensor.name == name:
            values = numpy_helper.to_array(tensor).copy()
            values.flat[np.abs(values).argmax()] *= np.float32(1.001)
            tensor.CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(model, str(to))
    return to


@pytest.mark.parametrize(("build", "faults"), [
    (vanishing, {"c3.weight": "c3"}), (wide, {"fc.weight": "fc"}),
    (tokens, {"out.weight": "out", "epsilon": "norm", "fc.weight": "fc"}),
])  # fmt: skip
def test_another_order_of_the_sums_does_not_part_and_a_fault_does(
    build: Any, faults: dict[str, str], make_model: MakeModel, photo: Path, tmp_path: Path
) -> None:
    path = make_model(build, shape=(1, 3, 8, 8), seed=16)
    found = inspector.compare(path, images=photo, runtimes=["cpu", "reference"])
    assert found.parted is None
    assert max(x.max_abs for x in found.layers) > 0
    for name, layer in faults.items():
        worse = inspector.compare(path, change(path, name, tmp_path / "b.onnx"), photo)
        assert [x.layer for x in worse.layers if x.parted] == [layer]


def test_rows_that_are_no_pictures_are_all_compared() -> None:
    layer = Layer("out", "out", "linear", None, True)
    for shape, first in (
        ((50, 12), (1, 12, 50)),
        ((50,), (1, 1, 50)),
        ((2, 12), (1, 12)),
        ((2,), (1, 1)),
        ((), (1, 1)),
    ):
        value = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        if shape[:1] == (2,):
            value[:] = value[:1]
        taken = read_first(value, layer, 2)
        assert taken.shape == first
        np.testing.assert_array_equal(write_first(taken, layer, value, 2), value)
