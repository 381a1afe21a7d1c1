"""Boxes of queries that look at all places, as of DETR and RT-DETR: gradients by torch's autograd, and D-RISE."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import inspector
from inspector.errors import NotComputable
from inspector.model.annotate import annotate_model
from tests.cam import reference
from tests.conftest import MakeModel, require
from tests.foreign import Net

torch = require("torch")
from tests.cam.transformers import Transformer, export  # noqa: E402  it needs torch

SIZE = (48, 64)
Array = np.ndarray
FORMULAS: dict[str, Callable[[Array, Array], Array]] = {
    "layercam": reference.layercam,
    "gradcam": reference.gradcam,
    "hirescam": reference.hirescam,
}


@pytest.fixture(scope="module", params=["detr", "rtdetr"])
def detector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, inspector.Model]:
    torch.manual_seed(0)
    kind = request.param
    net = Transformer(kind, queries=100 if kind == "detr" else 40)
    path = export(net, tmp_path_factory.mktemp("queries") / f"{kind}.onnx", SIZE)
    if kind == "rtdetr":
        path = annotate_model(path, path.with_name("said.onnx"), head="rtdetr").path
    return net, inspector.open_model(path)


@pytest.fixture
def x() -> Array:
    return np.random.default_rng(5).random((1, 3, *SIZE)).astype(np.float32)


def explain(net: Any, x: Array, found: Any) -> tuple[Array, Array, float]:
    """(activation, gradient, logit) of the score of one box by autograd."""
    maps = net.trunk(torch.from_numpy(x)).detach().requires_grad_()
    index = found.found.element.index
    logit = net.logits(maps)[0][0, index[1], found.target.index]
    [gradient] = torch.autograd.grad(logit, maps)
    return maps[0].detach().numpy(), gradient[0].numpy(), logit.item()


@pytest.mark.parametrize("method", list(FORMULAS))
def test_maps_of_queries_equal_autograd(detector: tuple[Any, inspector.Model], x: Array, method: str) -> None:
    net, model = detector
    found = model.cam(x, confidence=0.05, top=3, method=method)
    assert len(found) == 3
    for one in found:
        activation, gradient, logit = explain(net, x, one)
        assert one.target.score == pytest.approx(logit, abs=1e-4)
        small = torch.as_tensor(np.maximum(FORMULAS[method](activation, gradient), 0), dtype=torch.float32)
        wide = torch.nn.functional.interpolate(small[None, None], SIZE, mode="bilinear")[0, 0]
        wanted = (wide / (float(wide.max()) or 1)).numpy()
        assert np.abs(one.heatmap - wanted).max() < 1e-4
        assert (one.layer, one.backend) == ("trunk.5", "onnx")
        assert "queries look at all places: the last maps (6x8)" in one.reason
    assert not np.array_equal(found[0].heatmap, found[1].heatmap)


def test_drise_and_sides_of_queries(detector: tuple[Any, inspector.Model], x: Array) -> None:
    _, model = detector
    one, again = (model.cam(x, box=0, confidence=0.05, method="drise", masks=8, seed=1)[0] for _ in range(2))
    np.testing.assert_array_equal(one.raw, again.raw)
    assert one.raw.shape == SIZE
    assert one.found is not None
    assert one.raw.any()
    [side] = model.cam(x, box=0, confidence=0.05, side="left")
    assert side.found is not None
    assert side.target.score == pytest.approx(side.found.box[0], abs=0.5) or side.found.box[0] == 0
    assert not side.empty


def test_a_way_that_cannot_be_followed_is_said(make_model: MakeModel, x: Array) -> None:
    """Queries that a recurrent network makes: the refusal names the operator and what works."""

    def build(net: Net, x: str) -> tuple[str, str]:
        maps = net("Relu", net.conv(x, 3, 8, stride=8))
        rows = net("Transpose", net("Reshape", maps, net.const(np.array([1, 8, -1]))), perm=[2, 0, 1])
        weights = [net.weight(shape) for shape in ((1, 32, 8), (1, 32, 8))]
        found = net("Squeeze", net("LSTM", rows, *weights, hidden_size=8), net.const(np.array([1])))
        found = net("Transpose", found, perm=[1, 0, 2])
        logits = net("MatMul", found, net.weight((8, 5)), out="logits")
        net("Sigmoid", net("MatMul", found, net.weight((8, 4))), out="pred_boxes")
        return logits, "pred_boxes"

    model = inspector.open_model(make_model(build, shape=(1, 3, *SIZE)))
    assert model.task == "detect"
    message = "the way to the scores of boxes holds LSTM, without a derivative here; method drise needs no way back"
    with pytest.raises(NotComputable, match=re.escape(message)):
        model.cam(x, confidence=0.05)
    assert model.cam(x, confidence=0.05, top=1, method="drise", masks=4)
