"""Methods that run the network again, against loops over single runs; and graphs that resist batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.utils
import onnxruntime
import pytest

from inspector import open_model
from inspector.cam import prepare, rerun
from inspector.model import Model
from tests.cam.nets import CHANNELS, CLASSES, SIDE, Array, name_of, node, normal, picture, pooled_net, save_net, trunk
from tests.cam.reference import bilinear, softmax

Runner = Callable[[Array], Array]


def curved(path: Path, rng: np.random.Generator, batch: object = "N", reshape: object = None) -> Model:
    """trunk -> max pool -> flatten -> Gemm -> ReLU -> Gemm: no part of the head is linear in the layer."""
    nodes, weights = trunk(rng)
    nodes += [
        node("MaxPool", "maps", "small", kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", "small sizes", "flat"),
        node("Gemm", "flat w1 b1", "hidden", transB=1),
        node("Relu", "hidden", "active"),
        node("Gemm", "active w2", "logits", transB=1),
    ]
    weights |= {
        "w1": normal(rng, 12, CHANNELS * 16),
        "b1": normal(rng, 12),
        "w2": normal(rng, CLASSES, 12),
        "sizes": np.array(reshape if reshape is not None else [-1, CHANNELS * 16], np.int64),
    }
    outputs = {"logits": [batch, CLASSES]}
    return open_model(save_net(path, nodes, weights, outputs=outputs, shape=(batch, 3, SIDE, SIDE)))


def layer_and_runners(model: Model, x: Array) -> tuple[Array, Runner, Runner]:
    """(A, scores of the network for an input (1, ...), scores of the head for maps (C, h, w)), one run at a time."""
    maps = model.run(x, ["maps"])["maps"][0]
    graph = onnx.load(model.path)
    graph.graph.value_info.append(onnx.helper.make_tensor_value_info("maps", onnx.TensorProto.FLOAT, ["N", 6, 8, 8]))
    part = onnx.utils.Extractor(graph).extract_model(["maps"], ["logits"]).SerializeToString()
    session = onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"])

    def whole(tensor: Array) -> Array:
        return model.run(tensor.astype(np.float32), ["logits"])["logits"][0].astype(np.float64)

    def head(a: Array) -> Array:
        return session.run(None, {"maps": a[None].astype(np.float32)})[0][0].astype(np.float64)

    return maps, whole, head


def near(found: Array, wanted: Array, tolerance: float = 1e-5) -> None:
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


@pytest.mark.parametrize("form", ["linear", "curved"])
def test_ablationcam(form: str, tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "m.onnx"
    model = curved(path, rng) if form == "curved" else open_model(pooled_net(path, rng)[0])
    x = picture(rng)
    maps, whole, head = layer_and_runners(model, x)
    engine = prepare(model, "ablationcam", "trunk.relu")
    assert ("closed form" in engine.reason) == (form == "linear")
    scores = whole(x)
    for k, found in enumerate(engine.maps(x, classes=range(CLASSES))):
        wanted = np.zeros(maps.shape[1:])
        for c in range(len(maps)):
            without = maps.copy()
            without[c] = 0
            wanted += (scores[k] - head(without)[k]) / abs(scores[k]) * maps[c]
        near(found.raw, wanted, 1e-4)


@pytest.mark.parametrize("form", ["linear", "curved"])
def test_reciprocam(form: str, tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "m.onnx"
    model = curved(path, rng) if form == "curved" else open_model(pooled_net(path, rng)[0])
    x = picture(rng)
    maps, _, head = layer_and_runners(model, x)
    nothing = head(np.zeros_like(maps))
    for k, found in enumerate(prepare(model, "reciprocam", "trunk.relu").maps(x, classes=[0, 3])):
        wanted = np.zeros(maps.shape[1:])
        for i in range(8):
            for j in range(8):
                kept = np.zeros_like(maps)
                kept[:, i, j] = maps[:, i, j]
                wanted[i, j] = (head(kept) - nothing)[[0, 3][k]]
        near(found.raw, wanted, 1e-4)


def test_reciprocam_with_a_pooled_linear_head_is_cam_over_the_places(pooled: Model, rng: np.random.Generator) -> None:
    x = picture(rng)
    [cam] = prepare(pooled, "cam").maps(x)
    [found] = prepare(pooled, "reciprocam").maps(x)
    near(found.raw * 64, cam.raw)


@pytest.mark.parametrize("form", ["linear", "curved"])
def test_scorecam(form: str, tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "m.onnx"
    model = curved(path, rng) if form == "curved" else open_model(pooled_net(path, rng)[0])
    x = picture(rng)
    maps, whole, _ = layer_and_runners(model, x)
    scores = []
    for a in maps.astype(np.float64):
        mask = bilinear(a, (SIDE, SIDE), align_corners=True)
        spread = mask.max() - mask.min()
        scores.append(whole(x * (mask - mask.min()) / spread if spread else 0 * x))
    for k, found in enumerate(prepare(model, "scorecam", "trunk.relu").maps(x, classes=range(CLASSES))):
        weights = softmax(np.array(scores)[:, k])
        near(found.raw, np.einsum("c,chw->hw", weights, maps), 1e-4)


def test_scorecam_runs_blank_channels_once(tmp_path: Path, rng: np.random.Generator, monkeypatch) -> None:
    path, weights = pooled_net(tmp_path / "m.onnx", rng)
    nodes, _ = trunk(rng)
    nodes += [
        node("GlobalAveragePool", "maps", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat w b", "logits", transB=1),
    ]
    weights = {**trunk(np.random.default_rng(7))[1], **{k: weights[k] for k in "wb"}}
    weights["kb"] = weights["kb"].copy()
    weights["kb"][[1, 4]] = -1000  # dead
    model = open_model(save_net(path, nodes, weights, outputs={"logits": ["N", CLASSES]}))
    engine = prepare(model, "scorecam")
    counts = []
    run = model.sessions.run
    monkeypatch.setattr(model.sessions, "run", lambda feeds, names: counts.append(len(feeds["x"])) or run(feeds, names))
    x = picture(rng)
    [found] = engine.maps(x)
    assert sum(counts) == 1 + 4 + 1  # the picture, the four live channels, and one mask of nothing
    maps, whole, _ = layer_and_runners(model, x)
    k = found.target.index
    scores = []
    for a in maps.astype(np.float64):
        mask = bilinear(a, (SIDE, SIDE), align_corners=True)
        scores.append(whole(x * (mask - mask.min()) / (mask.max() - mask.min()) if a.any() else 0 * x)[k])
    near(found.raw, np.einsum("c,chw->hw", softmax(np.array(scores)), maps), 1e-4)


@pytest.mark.parametrize("method", ["scorecam", "ablationcam", "reciprocam", "gradcam"])
@pytest.mark.parametrize("batch", [1, 4])
def test_graphs_with_a_fixed_batch(method: str, batch: int, tmp_path: Path) -> None:
    free = curved(tmp_path / "free.onnx", np.random.default_rng(0))
    fixed = curved(tmp_path / "fixed.onnx", np.random.default_rng(0), batch, [batch, -1])
    x = picture(np.random.default_rng(1))
    for found, wanted in zip(
        prepare(fixed, method, "trunk.relu").maps(x, top=2),
        prepare(free, method, "trunk.relu").maps(x, top=2),
        strict=True,
    ):
        assert found.target.index == wanted.target.index
        near(found.raw, wanted.raw, 1e-4)


@pytest.mark.parametrize("method", ["scorecam", "ablationcam", "reciprocam"])
def test_a_batch_of_one_written_into_a_graph_that_promises_any(method: str, tmp_path: Path) -> None:
    free = curved(tmp_path / "free.onnx", np.random.default_rng(0))
    single = curved(tmp_path / "single.onnx", np.random.default_rng(0), "N", [1, -1])
    x = picture(np.random.default_rng(1))
    [wanted] = prepare(free, method, "trunk.relu").maps(x)
    engine = prepare(single, method, "trunk.relu")
    for _ in range(2):  # the second time it is known
        near(engine.maps(x)[0].raw, wanted.raw, 1e-4)


def test_batches_are_bounded(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    model = curved(tmp_path / "m.onnx", rng)
    x = picture(rng)
    engine = prepare(model, "reciprocam", "trunk.relu")
    [wanted] = engine.maps(x)
    sizes: list[int] = []
    run = model.sessions.run_from
    monkeypatch.setattr(
        model.sessions, "run_from", lambda feeds, names: sizes.append(len(feeds["maps"])) or run(feeds, names)
    )
    elements = CHANNELS * 64
    monkeypatch.setattr(rerun, "BATCH_BYTES", 3 * 4 * elements * 5)
    [found] = engine.maps(x)
    assert max(sizes) == 5
    assert sum(sizes) == 65
    near(found.raw, wanted.raw, 1e-6)


def test_an_all_blank_layer_gives_an_empty_map_by_every_method(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes, weights = trunk(rng)
    weights["kb"] = np.full(CHANNELS, -1000, np.float32)
    nodes += [
        node("GlobalAveragePool", "maps", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat w", "logits", transB=1),
    ]
    weights |= {"w": normal(rng, CLASSES, CHANNELS)}
    model = open_model(save_net(tmp_path / "m.onnx", nodes, weights, outputs={"logits": ["N", CLASSES]}))
    for method in ("cam", "gradcam", "gradcam++", "xgradcam", "eigencam", "scorecam", "ablationcam", "reciprocam"):
        [found] = prepare(model, method).maps(picture(rng))
        assert found.empty, method
        assert not found.heatmap.any()
        assert not found.raw.any()


def test_a_head_that_reads_the_size_of_the_picture(tmp_path: Path, rng: np.random.Generator) -> None:
    """A segmenter that enlarges its maps to the picture's size, which the file does not fix."""
    nodes, weights = trunk(rng)
    nodes += [
        node("Conv", "maps w b", "small"),
        node("Relu", "small", "active"),
        node("Shape", "x", "shape", start=2, end=4),
        node("Concat", "first shape", "sizes", axis=0),
        node("Resize", "active  none sizes".replace("  ", " "), "masks"),
    ]
    nodes[-1].input[:] = ["active", "", "", "sizes"]
    nodes.insert(-1, node("Shape", "active", "first", start=0, end=2))
    nodes.insert(-1, nodes.pop(-3))
    weights |= {"w": normal(rng, 3, CHANNELS, 1, 1), "b": normal(rng, 3)}
    path = save_net(
        tmp_path / "m.onnx", nodes, weights, outputs={"masks": ["N", 3, "H", "W"]}, shape=("N", 3, "H", "W")
    )
    model = open_model(path)
    x = picture(rng, 20)
    engine = prepare(model, "ablationcam", "trunk.relu", output="masks:1")
    [found] = engine.maps(x)
    maps = model.run(x, ["maps"])["maps"][0]
    y = model.run(x, ["masks"])["masks"][0, 1].sum(dtype=np.float64)
    assert model.run(x, ["masks"])["masks"].shape == (1, 3, 20, 20)
    wanted = np.zeros(maps.shape[1:])
    for c in range(CHANNELS):
        without = maps[None].copy()
        without[0, c] = 0
        active = np.maximum(
            np.einsum("kc,chw->khw", weights["w"][:, :, 0, 0], without[0]) + weights["b"][:, None, None], 0
        )
        total = nearest_resize(active[1], (20, 20)).sum(dtype=np.float64)
        wanted += (y - total) / abs(y) * maps[c]
    near(found.raw, wanted, 1e-3)


def nearest_resize(a: Array, size: tuple[int, int]) -> Array:
    """ONNX Resize's default: nearest, half-pixel places rounded down at halves."""
    rows = np.clip(np.ceil((np.arange(size[0]) + 0.5) * a.shape[0] / size[0] - 1).astype(int), 0, a.shape[0] - 1)
    columns = np.clip(np.ceil((np.arange(size[1]) + 0.5) * a.shape[1] / size[1] - 1).astype(int), 0, a.shape[1] - 1)
    return a[rows][:, columns]


def test_siblings_are_held_while_a_branch_is_ablated(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes, weights = trunk(rng)
    nodes += [
        node("Conv", "maps k2", "left", pads=[1, 1, 1, 1]),
        node("Conv", "maps k3", "right"),
        node("Mul", "left right", "joined"),
        node("Relu", "joined", "active"),
        node("GlobalAveragePool", "active", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat w", "logits", transB=1),
    ]
    weights |= {"k2": normal(rng, 4, CHANNELS, 3, 3), "k3": normal(rng, 4, CHANNELS, 1, 1), "w": normal(rng, 5, 4)}
    model = open_model(save_net(tmp_path / "m.onnx", nodes, weights, outputs={"logits": ["N", 5]}))
    x = picture(rng)
    values = model.run(x, ["left", "right", "logits"])
    [found] = prepare(model, "ablationcam", name_of(model, "left")).maps(x, classes=[2])
    left, right, y = values["left"][0], values["right"][0], values["logits"][0, 2]
    wanted = np.zeros(left.shape[1:])
    for c in range(4):
        without = left.copy()
        without[c] = 0
        score = weights["w"][2] @ np.maximum(without * right, 0).mean(axis=(1, 2))
        wanted += (y - score) / abs(y) * left[c]
    near(found.raw, wanted, 1e-4)
