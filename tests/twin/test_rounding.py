"""A saturated sigmoid is rounded at the scale of 1, in the twin as in onnxruntime."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from inspector.graph import read_graph
from tests.conftest import MakeModel
from tests.foreign import Net


def test_a_saturated_sigmoid_agrees(make_model: MakeModel, torch: ModuleType) -> None:
    from inspector.twin import build_twin, verify_twin

    def net(net: Net, x: str) -> str:
        quiet = net("Mul", net.conv(x, 3, 8), net.const(np.float32(0.05)))
        return net("Sigmoid", net("Sub", quiet, net.const(np.float32(9.8))), out="s")

    graph = read_graph(make_model(net, shape=(1, 3, 32, 32), opset=13))
    picture = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    (row,) = verify_twin(build_twin(graph, outputs=["s"]), graph, {"x": picture})
    assert row.ok
    assert row.scale < 1e-4
    assert row.max_abs <= np.finfo(np.float32).eps
