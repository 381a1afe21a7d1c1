"""Files of onnxruntime's optimiser at its highest level: channels in blocks are put in order, filling dropped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from inspector import Model, open_model
from inspector.cli.app import run
from inspector.errors import NotComputable
from tests.conftest import MakeModel, require
from tests.foreign import Net


def network(n: Net, x: str) -> str:
    """20 and 24 channels, which no block divides, 48, which some do; a sum, a concatenation and pools inside blocks."""
    a = n("Relu", n.conv(x, 3, 20), name="a/Relu")
    b = n("Relu", n.conv(a, 20, 24), name="b/Relu")
    c = n("Relu", n("Add", b, n.conv(a, 20, 24, name="c/Conv"), name="s/Add"), name="s/Relu")
    d = n("MaxPool", n("Relu", n.conv(c, 24, 48), name="d/Relu"), kernel_shape=[2, 2], strides=[2, 2], name="p/MaxPool")
    e = n("Concat", n("Relu", n.conv(d, 48, 16), name="e/Relu"), n("Relu", n.conv(d, 48, 32), name="f/Relu"), axis=1)
    g = n("Sigmoid", n.conv(e, 48, 40), name="g/Sigmoid")
    h = n("Flatten", n("GlobalAveragePool", n("Relu", n.conv(g, 40, 24), name="h/Relu")))
    return n("Gemm", h, n.weight((24, 5)))


@pytest.fixture
def pair(make_model: MakeModel, tmp_path: Path) -> tuple[Model, Model]:
    """The plain model, and what onnxruntime itself makes of it."""
    runtime = require("onnxruntime")
    plain = make_model(network, shape=(1, 3, 16, 16))
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.optimized_model_filepath = str(tmp_path / "blocked.onnx")
    options.log_severity_level = 3
    runtime.InferenceSession(str(plain), options, providers=["CPUExecutionProvider"])
    if not any(node.domain == "com.microsoft.nchwc" for node in onnx.load(tmp_path / "blocked.onnx").graph.node):
        pytest.skip("this processor's onnxruntime lays no channels in blocks")
    return open_model(plain), open_model(tmp_path / "blocked.onnx")


def test_every_layer_is_one_of_the_plain_model(pair: tuple[Model, Model], small_photo: np.ndarray) -> None:
    plain, blocked = pair
    right = plain.activations(small_photo)
    found = blocked.activations(small_photo)
    inside = [x for x in blocked.layers if x.arrangement is not None and x.arrangement.block > 1]
    assert {x.channels for x in inside} >= {20, 24, 48}
    assert not any(x.shape is not None and x.channels != found[x.name].shape[1] for x in inside)
    for name, value in found.items():
        rivals = [one for one in right.values() if one.shape == value.shape]
        assert rivals, f"{name} of shape {value.shape} is no layer of the plain model"
        near = min(float(np.abs(one - value).max() / np.abs(one).max()) for one in rivals)
        assert near < 1e-5, name


def test_the_commands_draw_what_is_there(
    pair: tuple[Model, Model], photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, blocked = pair
    assert run(["activations", str(blocked.path), str(photo), "-o", str(tmp_path / "out"), "--json", "-q"]) == 0
    [entry] = json.loads(capsys.readouterr().out)["images"]
    means = [float(value.mean()) for value in plain.activations(photo).values()]
    for one in entry["layers"]:
        assert min(abs(one["mean"] - mean) for mean in means) < 1e-4, one["name"]


def test_maps_are_those_of_the_plain_model_or_the_layer_is_refused_by_name(
    pair: tuple[Model, Model], photo: Path
) -> None:
    plain, blocked = pair
    [right] = plain.cam(photo, classes=[1], layer="h")
    [found] = blocked.cam(photo, classes=[1])
    assert np.abs(found.raw - right.raw).max() < 1e-4 * np.abs(right.raw).max()
    inner = next(x for x in blocked.layers if x.arrangement is not None and x.arrangement.block > 1)
    with pytest.raises(NotComputable, match=inner.name):
        blocked.cam(photo, layer=inner, backend="onnx")


def test_blocks_of_another_processor_are_named(
    pair: tuple[Model, Model], monkeypatch: pytest.MonkeyPatch, small_photo: np.ndarray
) -> None:
    lines: list[str] = []
    monkeypatch.setattr("inspector.model.open.measure_block", lambda: 7)
    model = open_model(pair[1].path, warn=lines.append)
    assert not any(x.arrangement is not None for x in model.layers)
    assert any("in blocks for another kind of processor: these layers are left out" in line for line in lines)
    assert len(model.activations(small_photo)) == len(model.layers) > 0
