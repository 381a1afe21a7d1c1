"""One channel a picture, against the layer with all its channels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspector import open_model
from tests.ascent.nets import save, small
from tests.conftest import require
from tests.foreign import Net

torch = require("torch")

from inspector.ascent import Network, channel  # noqa: E402

CHANNELS = [4, 0, 2, 4]


def both(path: Path, name: str, side: int = 20) -> tuple[Any, Any, Any, Any]:
    """Values of the chosen channels and gradients of the pictures: picked, and from all channels."""
    model = open_model(path)
    layer = model.layer(name)
    found: list[Any] = []
    start = torch.rand(len(CHANNELS), model.preprocess.channels, side, side, generator=torch.manual_seed(0))
    for picking in (True, False):
        network = Network(model, [layer], picking=picking)
        assert network.picks is picking
        pictures = start.clone().requires_grad_()
        if picking:
            network.pick(CHANNELS)
        values = network(pictures)
        numbers = [0] * len(CHANNELS) if picking else CHANNELS
        (gradient,) = torch.autograd.grad(channel(layer.name, numbers)(values).sum(), pictures)
        maps = values[layer.name]
        shown = maps[:, 0] if picking else torch.stack([m[c] for m, c in zip(maps, CHANNELS, strict=True)])
        found += [shown.detach(), gradient]
    return found[0], found[1], found[2], found[3]


NETS: dict[str, Callable[[Net, str], str]] = {
    "the first convolution": lambda n, x: n.conv(x, 3, 6, out="end", name="end"),
    "a second one": lambda n, x: n.conv(n("Relu", n.conv(x, 3, 5)), 5, 6, out="end", name="end"),
    "behind an activation": lambda n, x: n("LeakyRelu", n.conv(x, 3, 6), alpha=0.2, out="end", name="end"),
    "strides": lambda n, x: n.conv(n.conv(x, 3, 5), 5, 6, k=5, stride=2, out="end", name="end"),
    "dilation": lambda n, x: n.conv(n.conv(x, 3, 5), 5, 6, pads=2, dilations=[2, 2], out="end", name="end"),
    "no bias": lambda n, x: n.conv(x, 3, 6, k=1, bias=False, out="end", name="end"),
    "a long kernel": lambda n, x: n(
        "Conv", x, n.weight((6, 3, 1, 5)), kernel_shape=[1, 5], pads=[0, 2, 0, 2], out="end", name="end"
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_it_is_the_channel_of_the_layer(name: str, tmp_path: Path) -> None:
    net = Net(2)
    path = save(net, tmp_path / "m.onnx", NETS[name](net, net.input("x", ("N", 3, "H", "W"))), preprocess="imagenet")
    value, gradient, all_value, all_gradient = both(path, "end")
    assert value.shape == all_value.shape
    np.testing.assert_allclose(value, all_value, atol=1e-5 * float(all_value.abs().max()))
    np.testing.assert_allclose(gradient, all_gradient, atol=1e-5 * float(all_gradient.abs().max()))


@pytest.mark.parametrize(
    "build",
    [
        lambda n, x: n.conv(n.conv(x, 3, 6), 6, 6, group=3, out="end", name="end"),
        lambda n, x: n.bn(n.conv(x, 3, 6), 6, out="end", name="end"),
        lambda n, x: n(
            "Conv", x, n.weight((6, 3, 2, 2)), kernel_shape=[2, 2], pads=[0, 0, 1, 1], out="end", name="end"
        ),
        lambda n, x: n("Conv", x, n.weight((6, 3, 2, 2)), kernel_shape=[2, 2], auto_pad="SAME_UPPER", name="end"),
        lambda n, x: n("Add", n.conv(x, 3, 6), n.conv(x, 3, 6), out="end", name="end"),
    ],
    ids=["groups", "norm", "one-sided padding", "auto_pad", "sum"],
)
def test_where_it_cannot_all_channels_are_computed(build: Callable[[Net, str], str], tmp_path: Path) -> None:
    net = Net(2)
    path = save(net, tmp_path / "m.onnx", build(net, net.input("x", ("N", 3, "H", "W"))), preprocess="imagenet")
    model = open_model(path)
    network = Network(model, [model.layers[-1]], picking=True)
    assert not network.picks
    assert network(torch.rand(2, 3, 16, 16))[model.layers[-1].name].shape[:2] == (2, 6)


def test_a_dead_channel_is_pushed_as_in_the_whole_layer(tmp_path: Path) -> None:
    model = open_model(small(tmp_path / "small.onnx", dead=True))
    layer, found = model.layer("two_act"), []
    for picking in (True, False):
        network = Network(model, [layer], picking=picking)
        pictures = torch.full((2, 3, 24, 24), 0.5).requires_grad_()
        if picking:
            network.pick([2, 1])
        with network.redirected():
            score = channel(layer.name, [0, 0] if picking else [2, 1])(network(pictures))
            found.append(torch.autograd.grad(score.sum(), pictures)[0])
    assert float(found[1][0].abs().max()) > 0
    np.testing.assert_allclose(found[0], found[1], atol=1e-5 * float(found[1].abs().max()))
