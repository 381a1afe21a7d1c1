"""What a graph's arithmetic allows is found by its node; norms, lengths and softmax as they are written are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from inspector.auditing import audit_model
from inspector.graph import read_graph
from inspector.layers.layout import infer_shapes
from inspector.model import open_model
from inspector.tasks.ranges import Range, find_ranges
from tests.audit.networks import small
from tests.audit.policies import policy
from tests.conftest import MakeModel
from tests.foreign import FLOAT16, Net

CHOSEN = policy("arithmetic-defined")
Build = Callable[[Net, str], str]


def number(net: Net, value: float) -> str:
    return net.const(np.array(value, np.float32))


def red(net: Net, x: str) -> str:
    """The mean of the first channel, of one value a picture."""
    return net("Slice", net("GlobalAveragePool", x), *(net.const(np.array([v])) for v in (0, 1, 1)))


def added(net: Net, x: str, one: str) -> str:
    """The network with something of one value a picture on its scores."""
    return net("Add", small(net, x), net("Reshape", one, net.const(np.array([-1, 1]))))


def root_of_a_channel(net: Net, x: str) -> str:
    return added(net, x, net("Sqrt", net("Sub", number(net, 0.9), red(net, x)), name="hidden"))


def logarithm_of_a_window(net: Net, x: str) -> str:
    """Not a number for a mean of red between 0.7 and 0.8 alone."""
    offset = net("Sub", red(net, x), number(net, 0.75))
    window = net("Sub", net("Mul", offset, offset), number(net, 0.0025))
    return added(net, x, net("Log", window, name="hidden"))


def quotient(net: Net, x: str) -> str:
    return added(net, x, net("Div", number(net, 1), net("Sub", red(net, x), number(net, 0.33)), name="hidden"))


def reciprocal_of_a_feature(net: Net, x: str) -> str:
    feature = net("GlobalAveragePool", net.conv(net("Relu", net.conv(x, 3, 4, 3)), 4, 1, 3))
    return added(net, x, net("Reciprocal", feature, name="hidden"))


def power_of_a_pixel(net: Net, x: str) -> str:
    return small(net, net("Pow", net("Sub", x, number(net, 0.01)), number(net, 0.5), name="hidden"))


def power_too_large(net: Net, x: str) -> str:
    return small(net, net("Exp", net("Mul", x, number(net, 90)), name="hidden"))


def half_too_large(net: Net, x: str) -> str:
    return small(net, net("Cast", net("Cast", net("Mul", x, number(net, 7e4)), to=FLOAT16, name="hidden"), to=1))


def half_of_bytes(net: Net, x: str) -> str:
    """Bytes times 200, which half precision still holds, and then times 2."""
    y = net("Mul", net("Cast", x, to=FLOAT16), net.const(np.array(200, np.float16)))
    y = net("Mul", y, net.const(np.array(2, np.float16)), name="hidden")
    return small(net, net("Cast", y, to=1))


def variance_below_zero(net: Net, x: str) -> str:
    """The epsilon keeps the root defined; the channel is a hundred times what it was."""
    y = net.conv(x, 3, 3, 3)
    variance = net.const(np.array([1, -1e-3, 1], np.float32))
    ones, zeros = net.const(np.ones(3)), net.const(np.zeros(3))
    return small(net, net("BatchNormalization", y, ones, zeros, zeros, variance, epsilon=1.1e-3, name="hidden"))


BROKEN: dict[str, Build] = {
    build.__name__: build
    for build in (
        root_of_a_channel, logarithm_of_a_window, quotient, reciprocal_of_a_feature, power_of_a_pixel, power_too_large,
        half_too_large, half_of_bytes, variance_below_zero,
    )
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_it_is_found_by_its_name(make_model: MakeModel, name: str) -> None:
    found = audit_model(make_model(BROKEN[name], shape=("N", 3, 16, 16), opset=17), CHOSEN)
    result = found.check("arithmetic-defined")
    assert result.status == "fail", result.message
    assert [f.key.partition(" ")[2] for f in result.findings] == ["'hidden'"]


def softmax_written_out(net: Net, x: str) -> str:
    scores = small(net, x)
    raised = net("Exp", net("Sub", scores, net("ReduceMax", scores, axes=[1], keepdims=1)))
    return net("Div", raised, net("ReduceSum", raised, net.const(np.array([1])), keepdims=1))


def softmax_of_large_scores(net: Net, x: str) -> str:
    """Without the largest taken off, as some write it."""
    raised = net("Exp", small(net, x))
    return net("Div", raised, net("ReduceSum", raised, net.const(np.array([1])), keepdims=1))


def length_with_clip(net: Net, x: str) -> str:
    scores = small(net, x)
    length = net("ReduceL2", scores, axes=[1], keepdims=1)
    return net("Div", scores, net("Clip", length, number(net, 1e-12), ""))


def length_alone(net: Net, x: str) -> str:
    scores = small(net, x)
    return net("Div", scores, net("ReduceL2", scores, axes=[1], keepdims=1))


def norm_written_out(net: Net, x: str) -> str:
    y = net.conv(x, 3, 3, 3)
    centred = net("Sub", y, net("ReduceMean", y, axes=[1], keepdims=1))
    variance = net("ReduceMean", net("Pow", centred, number(net, 2)), axes=[1], keepdims=1)
    return small(net, net("Div", centred, net("Sqrt", net("Add", variance, number(net, 1e-6)))))


def deviation_by_squares(net: Net, x: str) -> str:
    y = net.conv(x, 3, 3, 3)
    mean = net("GlobalAveragePool", y)
    squares = net("Sub", net("GlobalAveragePool", net("Mul", y, y)), net("Mul", mean, mean))
    return small(net, net("Div", y, net("Sqrt", net("Add", squares, number(net, 1e-3)))))


def swish_written_out(net: Net, x: str) -> str:
    y = net.conv(x, 3, 3, 3)
    return small(net, net("Div", y, net("Add", net("Exp", net("Neg", y)), number(net, 1))))


def logarithm_of_chances(net: Net, x: str) -> str:
    return net("Log", net("Softmax", small(net, x), axis=1))


HEALTHY: dict[str, Build] = {
    build.__name__: build
    for build in (
        softmax_written_out, softmax_of_large_scores, length_with_clip, length_alone, norm_written_out,
        deviation_by_squares, swish_written_out, logarithm_of_chances,
    )
}  # fmt: skip


@pytest.mark.parametrize("name", HEALTHY)
def test_what_is_written_so_everywhere_is_none(make_model: MakeModel, name: str) -> None:
    result = audit_model(make_model(HEALTHY[name], shape=("N", 3, 16, 16), opset=17), CHOSEN).check(
        "arithmetic-defined"
    )
    assert result.status == "pass", result.message


def chain(net: Net, x: str) -> tuple[str, ...]:
    y = net.conv(x, 3, 5, 3, out="conv")
    y = net("Relu", net.bn(y, 5), out="relu")
    net("AveragePool", y, kernel_shape=[3, 3], pads=[1] * 4, out="pool")
    y = net("HardSwish", net.conv(y, 5, 4, 3, out="second"), out="swish")
    y = net("ReduceSum", net("Abs", y), net.const(np.array([2, 3])), keepdims=0, out="sum")
    net("Gemm", net("Sqrt", y, out="root"), net.weight((4, 3)), net.const(np.ones(3)), out="gemm")
    return "conv", "relu", "pool", "second", "swish", "sum", "root", "gemm"


def test_no_value_lies_outside_its_interval(make_model: MakeModel) -> None:
    """Held against a thousand pictures, with every pixel at an end of the range in half of them."""
    path = make_model(chain, shape=("N", 3, 8, 8), opset=17)
    names = ["conv", "relu", "pool", "second", "swish", "sum", "root", "gemm"]
    model = open_model(path)
    found = find_ranges(model.graph, names, infer_shapes(model.graph), {"x": Range(-2, 3, True)})
    rng = np.random.default_rng(0)
    pictures = rng.uniform(-2, 3, (1000, 3, 8, 8)).astype(np.float32)
    pictures[::2] = np.where(rng.random((500, 3, 8, 8)) < rng.random((500, 1, 1, 1)), -2, 3)
    values: dict[str, NDArray[np.float32]] = model.run(pictures, names)
    for name in names:
        assert np.isfinite([found[name].low, found[name].high]).all(), name
        assert values[name].min() >= found[name].low - 1e-4, name
        assert values[name].max() <= found[name].high + 1e-4, name
        assert not found[name].exact


def test_what_one_function_makes_of_a_picture_is_reached(make_model: MakeModel) -> None:
    path = make_model(lambda net, x: net("Neg", net("Mul", x, number(net, 4))), shape=("N", 3, 8, 8), opset=17)
    graph = read_graph(path)
    (name,) = graph.outputs
    assert find_ranges(graph, [name], infer_shapes(graph), {"x": Range(0, 1, True)}) == {name: Range(-4, 0, True)}
