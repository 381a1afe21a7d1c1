"""The scale at which values are rounded."""

from __future__ import annotations

import numpy as np

from inspector.graph import read_graph
from inspector.tasks.rounding import find_operand_scales
from tests.conftest import MakeModel
from tests.foreign import Net


def test_bounded_values_are_rounded_at_their_bound(make_model: MakeModel) -> None:
    def net(net: Net, x: str) -> str:
        y = net.conv(x, 3, 4, 3)
        s = net("Sigmoid", y, out="sigmoid")
        net("Mul", s, net.const(np.float32(0.25)), out="quarter")
        wide = net("Clip", y, net.const(np.float32(-1e6)), net.const(np.float32(1e6)), out="wide")
        return net("Concat", net("Transpose", s, perm=[0, 2, 3, 1], out="turned"), net("Tanh", wide), axis=1, out="all")

    graph = read_graph(make_model(net, opset=13, shape=(1, 3, 4, 4)))
    names = ["sigmoid", "quarter", "turned", "wide", "conv1"]
    found = find_operand_scales(graph, names)
    assert found == {"sigmoid": 1.0, "quarter": 0.25, "turned": 1.0, "wide": 0.0, "conv1": 0.0}
