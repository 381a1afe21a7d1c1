"""Small networks for the tests of the audit."""

from __future__ import annotations

import numpy as np

from tests.foreign import Net


def small(net: Net, x: str) -> str:
    """conv, relu, conv, relu, pool, linear: three classes."""
    x = net("Relu", net.conv(x, 3, 6, 3), out="first")
    x = net("Relu", net.conv(x, 6, 8, 3, stride=2), out="second")
    x = net("Flatten", net("GlobalAveragePool", x))
    return net("Gemm", x, net.weight((3, 8), "fc.weight"), net.const(np.zeros(3), "fc.bias"), transB=1, out="logits")
