"""Gradients of one place: the same numbers as those of the whole tensor, from a few cells."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from inspector.graph import read_graph
from inspector.reverse import Spot, SpotValues, find_head
from inspector.runtime import Sessions
from tests.conftest import MakeModel
from tests.foreign import Net

Build = Callable[[Net, str], str]


def silu(net: Net, x: str) -> str:
    return net("Mul", x, net("Sigmoid", x))


def branch(net: Net, x: str) -> str:
    """A class branch as YOLOv11 has it: depthwise and plain convolutions, then one for the classes."""
    x = silu(net, net.conv(x, 6, 6, 3, group=6))
    x = silu(net, net.bn(net.conv(x, 6, 5, 3), 5))
    return net.conv(x, 5, 7, 1)


def forms(net: Net, x: str) -> str:
    """Stacked, cut, turned and flattened, as the outputs of heads are put together."""
    left, right = net.conv(x, 6, 4, 3), net("Relu", net.conv(x, 6, 3, 3, stride=1))
    both = net("Concat", left, right, axis=1)
    half = net("Slice", both, net.const(np.array([2])), net.const(np.array([7])), net.const(np.array([1])))
    rows = net("Reshape", half, net.const(np.array([1, 5, -1])))
    return net("Transpose", rows, perm=[0, 2, 1])


def scales(net: Net, x: str) -> str:
    """A pyramid: a pool, an enlargement, a sum, and windows that reach beyond the edge."""
    low = net("MaxPool", net.conv(x, 6, 6, 3), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    up = net("Resize", low, "", net.const(np.array([1, 1, 2, 2], np.float32)), mode="nearest")
    joined = net("Add", up, net("LeakyRelu", x, alpha=0.1))
    return net.conv(joined, 6, 5, 3, stride=2)


def attention(net: Net, x: str) -> str:
    """What every place gives to every other."""
    net("Split", net.conv(x, 6, 6, 1), net.const(np.array([2, 4])), axis=1, out=["q", "k"])
    return net("Mul", net("Softmax", "q", axis=3), net("ReduceMean", "k", axes=[1], keepdims=1))


def spread(net: Net, x: str) -> str:
    """Enlarged by transposed convolutions: grouped, with padding, dilated, and with gaps."""
    x = net("ConvTranspose", x, net.weight((6, 2, 4, 4)), strides=[2, 2], pads=[1, 1, 1, 1], group=3)
    x = net("ConvTranspose", net("Relu", x), net.weight((6, 4, 2, 3)), strides=[3, 1], dilations=[1, 2])
    return net.conv(x, 4, 5, 3)


@pytest.mark.parametrize("build", [branch, forms, scales, spread, attention])
@pytest.mark.parametrize("place", [0.0, 0.45, 1.0])
def test_a_spot_is_the_whole_gradient(build: Build, place: float, make_model: MakeModel) -> None:
    path = make_model(lambda net, x: net("Identity", build(net, net.conv(x, 3, 6, 3)), out="y"), shape=(1, 3, 12, 14))
    graph = read_graph(path)
    [layer] = [graph.nodes[0].output[0]]
    head = find_head(graph, layer, "y")
    assert head.differentiable, head.unknown
    names = list(dict.fromkeys([layer, "y", *head.needed, *head.read[0], *head.read[1]]))
    x = np.random.default_rng(3).standard_normal((1, 3, 12, 14)).astype(np.float32)
    run = Sessions(graph).run({"x": x}, names)
    weights = {name: np.asarray(graph.weight(name)) for name in head.weights}
    shape = run["y"].shape
    index = tuple(round(place * (n - 1)) for n in shape)
    seed = Spot.at(index, shape)
    valued, shaped = head.read
    found = head.follow(seed, SpotValues(weights | {n: run[n] for n in valued}, {n: run[n].shape for n in shaped}))
    wanted = head.gradient(seed.whole(), run | weights)
    if found is None:
        assert not wanted.any()
        return
    assert found.values.size < wanted.size or build is attention
    np.testing.assert_allclose(found.whole(), wanted, atol=1e-5 * np.abs(wanted).max())
