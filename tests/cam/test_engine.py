"""The engine: one run for all classes, layouts, backends, what it keeps and what it says."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.utils
import onnxruntime
import pytest
from PIL import Image

import inspector
from inspector import Model, open_model
from inspector.cam import METHODS, class_activation_maps, prepare
from inspector.cam.engines import _engines as kept_engines
from inspector.errors import InspectorError, MissingExtra, NotComputable, UsageError
from inspector.extras import install_command
from tests.cam.nets import CHANNELS, CLASSES, SIDE, Array, name_of, node, normal, picture, pooled_net, save_net, trunk
from tests.conftest import ROOT, require

torch = require("torch")

OF_CLASSES = [name for name, method in METHODS.items() if method.needs != "detections"]


def near(found: Array, wanted: Array, tolerance: float = 1e-5) -> None:
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


def cut(model: Model, inputs: dict[str, list[object]]) -> Callable[[dict[str, Array]], Array]:
    """The part of the file between these tensors and the logits, by onnx's own extractor."""
    proto = onnx.load(model.path)
    proto.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in inputs.items()
    )
    part = onnx.utils.Extractor(proto).extract_model(list(inputs), ["logits"]).SerializeToString()
    session = onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)[0]


def test_a_picture_by_every_way_in_gives_the_same_map(pooled: Model, tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (40, 60, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    ways = [pixels, Image.fromarray(pixels), tmp_path / "p.png", (tmp_path / "p.png").read_bytes()]
    engine = prepare(pooled)
    maps = [engine.maps(way)[0] for way in ways]
    for found in maps[1:]:
        assert np.array_equal(found.raw, maps[0].raw)
        assert found.peak == maps[0].peak
        assert (found.size, found.box) == ((60, 40), (0, 0, 60, 40))
    tensor = engine.maps(pooled.tensor(pixels))[0]
    assert np.array_equal(tensor.raw, maps[0].raw)
    assert tensor.size == (SIDE, SIDE)  # of a tensor no picture is known


def test_the_result(pooled: Model, rng: np.random.Generator) -> None:
    [found] = pooled.cam(picture(rng), classes=[2])
    assert found.method == "gradcam"
    assert found.layer == "trunk.relu"
    assert found.layers == ("trunk.relu",)
    assert found.backend == "onnx"
    assert found.shape == (8, 8)
    assert found.raw.dtype == found.heatmap.dtype == np.float32
    assert 0 <= found.heatmap.min() <= found.heatmap.max() <= 1
    assert found.enlarge((33, 40)).shape == (33, 40)
    with pytest.raises(AttributeError):
        found.layer = "other"  # type: ignore[misc]


def test_all_classes_share_one_run(pooled: Model, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = prepare(pooled)
    x = picture(rng)
    engine.maps(x)
    runs = []
    run = pooled.sessions.run
    monkeypatch.setattr(pooled.sessions, "run", lambda feeds, names: runs.append(names) or run(feeds, names))
    found = engine.maps(x, top=5)
    assert len(found) == 5
    assert len(runs) == 1
    for f in found:
        near(f.raw, engine.maps(x, classes=[f.target.index])[0].raw, 1e-7)


def test_the_engine_is_kept_with_the_model(pooled: Model, rng: np.random.Generator) -> None:
    x = picture(rng)
    class_activation_maps(pooled, x)
    engines = kept_engines[pooled]
    before = vars(pooled).copy()
    first = next(iter(engines.values()))
    class_activation_maps(pooled, x, method="Grad-CAM", top=3)
    assert list(engines.values()) == [first]
    for method in OF_CLASSES:
        class_activation_maps(pooled, x, method=method)
    assert len(engines) == 4
    assert vars(pooled) == before


def test_a_kept_engine_does_not_keep_the_model(tmp_path: Path, rng: np.random.Generator) -> None:
    model = open_model(pooled_net(tmp_path / "m.onnx", rng)[0])
    class_activation_maps(model, picture(rng))
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_a_thousand_maps_take_no_more_memory(tmp_path: Path, rng: np.random.Generator) -> None:
    path = pooled_net(tmp_path / "m.onnx", rng)[0]
    np.save(tmp_path / "x.npy", picture(rng))
    # In a process of its own: this one's memory moves with whatever ran before.
    code = """
import gc, os, sys, numpy as np
from inspector import open_model
from inspector.cam import prepare
model = open_model(sys.argv[1]); engine = prepare(model); x = np.load(sys.argv[2])
def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
for _ in range(200): engine.maps(x, top=3)
before = resident()
for _ in range(1000): engine.maps(x, top=3)
print(resident() - before, len(model.sessions._kept))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(tmp_path / "x.npy")],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    grown, sessions = map(int, done.stdout.split())
    assert grown < 2 * 1024 * 1024
    assert sessions <= 2


def test_channels_last_layers_are_turned(tmp_path: Path, rng: np.random.Generator) -> None:
    """ConvNeXt's form: a block that computes on (N, H, W, C)."""
    nodes, weights = trunk(rng)
    nodes += [
        node("Transpose", "maps", "last", perm=[0, 2, 3, 1]),
        node("LayerNormalization", "last s t", "normed", axis=-1),
        node("MatMul", "normed w1", "wide"),
        node("Relu", "wide", "active"),
        node("MatMul", "active w2", "narrow"),
        node("Transpose", "narrow", "first", perm=[0, 3, 1, 2]),
        node("Add", "first maps", "out"),
        node("GlobalAveragePool", "out", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat w b", "logits", transB=1),
    ]
    weights |= {
        "s": normal(rng, CHANNELS),
        "t": normal(rng, CHANNELS),
        "w1": normal(rng, CHANNELS, 11),
        "w2": normal(rng, 11, CHANNELS),
        "w": normal(rng, CLASSES, CHANNELS),
        "b": normal(rng, CLASSES),
    }
    model = open_model(save_net(tmp_path / "m.onnx", nodes, weights, outputs={"logits": ["N", CLASSES]}))
    layer = next(x for x in model.layers if x.tensor == "active")
    assert layer.channels_last
    x = picture(rng)
    active = np.moveaxis(model.run(x, ["active"])["active"][0], -1, 0).astype(np.float64)
    gradient = (weights["w2"] @ weights["w"][1]) / 64
    wanted = np.einsum("c,chw->hw", gradient, active)
    near(prepare(model, "gradcam", layer.name).maps(x, classes=[1])[0].raw, wanted)
    near(prepare(model, "reciprocam", layer.name).maps(x, classes=[1])[0].raw, wanted)
    near(prepare(model, "gradcam", layer.name, "twin").maps(x, classes=[1])[0].raw, wanted)
    # Through the curved part, where the runs cannot be avoided, the block is turned back for the head.
    normed = next(x for x in model.layers if x.tensor == "normed")
    [numpy_map] = prepare(model, "layercam", normed.name, "onnx").maps(x, classes=[1])
    [twin_map] = prepare(model, "layercam", normed.name, "twin").maps(x, classes=[1])
    near(numpy_map.raw, twin_map.raw)
    values = model.run(x, ["normed", "maps", "logits"])
    y = values["logits"][0, 1]
    head = cut(model, {"normed": ["N", 8, 8, CHANNELS], "maps": ["N", CHANNELS, 8, 8]})
    wanted = np.zeros((8, 8))
    for c in range(CHANNELS):
        without = values["normed"].copy()
        without[..., c] = 0
        out = head({"normed": without, "maps": values["maps"]})[0, 1]
        wanted += (y - out) / abs(y) * values["normed"][0, :, :, c]
    near(prepare(model, "ablationcam", normed.name).maps(x, classes=[1])[0].raw, wanted, 1e-4)


@pytest.mark.parametrize("method", ["gradcam", "scorecam", "ablationcam"])
def test_nhwc_inputs(method: str, tmp_path: Path) -> None:
    def net(path: Path, last: bool) -> Model:
        rng = np.random.default_rng(0)
        nodes, weights = trunk(rng)
        nodes += [
            node("GlobalAveragePool", "maps", "pool"),
            node("Flatten", "pool", "flat"),
            node("Gemm", "flat w b", "logits", transB=1),
        ]
        weights |= {"w": normal(rng, CLASSES, CHANNELS), "b": normal(rng, CLASSES)}
        if last:
            nodes[0].input[0] = "turned"
            nodes.insert(0, node("Transpose", "x", "turned", perm=[0, 3, 1, 2]))
        shape = ("N", SIDE, SIDE, 3) if last else ("N", 3, SIDE, SIDE)
        return open_model(save_net(path, nodes, weights, outputs={"logits": ["N", CLASSES]}, shape=shape))

    x = picture(np.random.default_rng(1))
    [wanted] = prepare(net(tmp_path / "first.onnx", False), method).maps(x)
    nhwc = net(tmp_path / "last.onnx", True)
    assert nhwc.input.layout == "NHWC"
    [found] = prepare(nhwc, method).maps(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    near(found.raw, wanted.raw, 1e-5)


def test_several_layers(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes, weights = trunk(rng)
    nodes += [
        node("Conv", "maps k2", "c2", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", "c2", "deep"),
        node("GlobalAveragePool", "deep", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat w", "logits", transB=1),
    ]
    weights |= {"k2": normal(rng, 7, CHANNELS, 3, 3), "w": normal(rng, CLASSES, 7)}
    model = open_model(save_net(tmp_path / "m.onnx", nodes, weights, outputs={"logits": ["N", CLASSES]}))
    x = picture(rng)
    [found] = class_activation_maps(model, x, layer=["trunk.relu", "deep"], method="layercam")
    singles = [class_activation_maps(model, x, layer=name, method="layercam")[0] for name in ("trunk.relu", "deep")]
    assert found.shape == (8, 8)
    assert found.layers == (singles[0].layer, singles[1].layer)
    assert found.layer == " + ".join(found.layers)
    assert found.reason.startswith("the layers asked for, averaged")
    mean = singles[0].heatmap / 2 + singles[1].enlarge((8, 8)) / 2
    assert np.abs(found.heatmap - mean / mean.max()).max() < 1e-5


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "hirescam", "xgradcam", "layercam"])
@pytest.mark.parametrize("layer", ["c", "maps", "n2", "join"])
def test_numpy_and_the_twin_agree(method: str, layer: str, tmp_path: Path, rng: np.random.Generator) -> None:
    nodes, weights = trunk(rng)
    nodes += [
        node("Conv", "maps k2 b2", "c2", pads=[1, 1, 1, 1], group=2),
        node("BatchNormalization", "c2 s t mean var", "n2"),
        node("HardSwish", "n2", "a2"),
        node("Add", "a2 maps", "join"),
        node("MaxPool", "join", "small", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Sigmoid", "small", "gate"),
        node("Mul", "small gate", "silu"),
        node("GlobalAveragePool", "silu", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat w b", "logits", transB=1),
    ]
    weights |= {
        "k2": normal(rng, CHANNELS, CHANNELS // 2, 3, 3),
        "b2": normal(rng, CHANNELS),
        "s": normal(rng, CHANNELS),
        "t": normal(rng, CHANNELS),
        "mean": normal(rng, CHANNELS),
        "var": np.linspace(1, 2, CHANNELS, dtype=np.float32),
        "w": normal(rng, CLASSES, CHANNELS),
        "b": normal(rng, CLASSES),
    }
    model = open_model(save_net(tmp_path / "m.onnx", nodes, weights, outputs={"logits": ["N", CLASSES]}))
    x = picture(rng)
    found = prepare(model, method, name_of(model, layer), "onnx").maps(x, top=3)
    wanted = prepare(model, method, name_of(model, layer), "twin").maps(x, top=3)
    for mine, theirs in zip(found, wanted, strict=True):
        assert (mine.backend, theirs.backend) == ("onnx", "twin")
        near(mine.raw, theirs.raw, 1e-5)


# --- which backend ----------------------------------------------------------------------------------------------------


@pytest.fixture
def strange(tmp_path: Path, rng: np.random.Generator) -> Model:
    """A head with a transposed convolution that pads itself, for the twin alone, then one more layer of maps."""
    nodes, weights = trunk(rng)
    nodes += [
        node("ConvTranspose", "maps k2", "grown", strides=[2, 2], auto_pad="SAME_UPPER"),
        node("Relu", "grown", "deep"),
        node("GlobalAveragePool", "deep", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat w", "logits", transB=1),
    ]
    weights |= {"k2": normal(rng, CHANNELS, 4, 2, 2), "w": normal(rng, CLASSES, 4)}
    return open_model(save_net(tmp_path / "strange.onnx", nodes, weights, outputs={"logits": ["N", CLASSES]}))


def test_the_twin_is_taken_where_numpy_does_not_know_the_way(strange: Model, rng: np.random.Generator) -> None:
    x = picture(rng)
    engine = prepare(strange, "hirescam", "trunk.relu")
    assert engine.backend == "twin"
    assert engine.reason == "the layer asked for; gradient by the torch twin"
    [found] = engine.maps(x, classes=[1])
    assert found.backend == "twin"
    maps = strange.run(x, ["maps"])["maps"].astype(np.float64)
    head = cut(strange, {"maps": ["N", CHANNELS, 8, 8]})
    gradient = np.zeros(maps.shape)
    for index in np.ndindex(*maps.shape):
        both = [maps.copy(), maps.copy()]
        both[0][index] += 1e-2
        both[1][index] -= 1e-2
        scores = head({"maps": np.concatenate(both).astype(np.float32)})[:, 1]
        gradient[index] = (float(scores[0]) - float(scores[1])) / 2e-2
    wanted = (gradient * maps)[0].sum(axis=0)
    near(found.raw, wanted, 2e-2)
    assert prepare(strange).backend == "onnx"  # at the layer behind it numpy does


def test_backend_onnx_refuses_and_says_what_there_is(strange: Model) -> None:
    with pytest.raises(
        NotComputable,
        match=r"gradcam at trunk.relu needs the gradient of ConvTranspose, which only the twin has; use backend auto "
        r"or twin \(extra torch\), or without it eigencam, scorecam, ablationcam, reciprocam work at this "
        r"layer, and gradcam at head.deep",
    ):
        prepare(strange, "gradcam", "trunk.relu", "onnx")
    with pytest.raises(UsageError, match="there is no backend 'torch'; known: auto, onnx, twin"):
        prepare(strange, backend="torch")


def test_methods_without_gradients_never_need_the_twin(strange: Model, rng: np.random.Generator) -> None:
    x = picture(rng)
    for method in ("eigencam", "scorecam", "ablationcam", "reciprocam"):
        for backend in ("auto", "onnx", "twin"):
            assert prepare(strange, method, "trunk.relu", backend).maps(x)[0].backend == "onnx"


def test_cam_asks_for_a_linear_head(strange: Model) -> None:
    with pytest.raises(
        NotComputable, match=r"cam needs a head that is linear after the layer; after 'trunk.relu' comes ConvTranspose"
    ):
        prepare(strange, "cam", "trunk.relu")


def test_without_torch_the_error_names_the_extra_and_what_works(
    strange: Model, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n == "inspector.twin" or n.startswith("inspector.twin.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(inspector, "twin", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra) as caught:
        prepare(strange, "layercam", "trunk.relu")
    assert str(caught.value).startswith(
        "layercam at trunk.relu needs the gradient of ConvTranspose, and torch is not installed; "
        f"{install_command('torch')}; without it eigencam, scorecam, ablationcam, reciprocam work at this layer, "
        "and layercam at "
    )
    needs = (
        "needs torch, since backend twin was asked for, and torch is not installed.*backend auto computes gradcam here"
    )
    with pytest.raises(MissingExtra, match=needs):
        prepare(strange, backend="twin")
    assert prepare(strange).maps(picture(rng))[0].backend == "onnx"


def test_the_package_imports_without_torch_and_works(pooled: Model) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np\n"
        "from inspector import open_model\n"
        "from inspector.cam import METHODS, prepare\n"
        "import inspector.cam.faithfulness, inspector.cam.sanity\n"
        f"model = open_model({str(pooled.path)!r})\n"
        f"x = np.random.default_rng(0).standard_normal((1, 3, {SIDE}, {SIDE})).astype(np.float32)\n"
        "print([prepare(model, m).maps(x)[0].backend for m in METHODS if m != 'drise'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(["onnx"] * len(OF_CLASSES))


def test_tensors_of_several_pictures_are_refused(pooled: Model, rng: np.random.Generator) -> None:
    with pytest.raises(UsageError, match=r"tensor of shape \(2, 3, 16, 16\) holds 2 pictures; give one at a time"):
        prepare(pooled).maps(np.concatenate([picture(rng), picture(rng)]))


def test_an_unknown_method_is_an_inspector_error(pooled: Model, rng: np.random.Generator) -> None:
    with pytest.raises(InspectorError, match="there is no method 'lime'"):
        pooled.cam(picture(rng), method="lime")
