"""What is assumed of a file that does not say it: the operators that the picture meets first."""

from __future__ import annotations

import numpy as np
import pytest

from inspector import open_model
from tests.conftest import MakeModel
from tests.foreign import Net


@pytest.mark.parametrize("op", ["Identity", "Floor", "Abs", "Sign"])
def test_the_layout_behind_any_elementwise_operator(op: str, make_model: MakeModel) -> None:
    """A graph that begins by moving the last axis to the front takes (N, H, W, C), whatever it does to elements."""

    def build(n: Net, x: str) -> str:
        x = n("Transpose", n(op, x), perm=[0, 3, 1, 2])
        return n("GlobalAveragePool", n.conv(x, 3, 4))

    assert open_model(make_model(build, shape=("n", "h", "w", "c"))).input.layout == "NHWC"


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
def test_a_picture_that_the_graph_normalises_itself(op: str, make_model: MakeModel) -> None:
    """Also between integers of a quantized file."""

    def build(n: Net, x: str) -> str:
        scale, zero = n.const(np.float32(1)), n.const(np.uint8(0))
        x = n("DequantizeLinear", n("QuantizeLinear", x, scale, zero), scale, zero)
        x = n(op, x, n.const(np.full((3, 1, 1), 127.5)))
        return n("GlobalAveragePool", n.conv(x, 3, 4))

    assert any("preprocess raw" in line for line in open_model(make_model(build)).assumed)
