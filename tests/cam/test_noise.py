"""A gradient that is zero by arithmetic gives an empty map, by every method and backend; a small one does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inspector import Model, open_model
from inspector.cam import class_activation_maps
from tests.cam.nets import CHANNELS, CLASSES, name_of, node, normal, picture, save_net, trunk
from tests.conftest import require

require("torch")

METHODS = ["gradcam", "hirescam", "layercam", "xgradcam", "gradcam++", "ablationcam", "reciprocam"]


def build(path: Path, rng: np.random.Generator, norm: str) -> Model:
    """trunk -> norm over the places -> mean over the places -> linear: the mean after an instance norm is its bias."""
    nodes, weights = trunk(rng)
    weights |= {
        "s": np.abs(normal(rng, CHANNELS)) + 1,
        "o": normal(rng, CHANNELS),
        "w": normal(rng, CLASSES, CHANNELS),
        "b": normal(rng, CLASSES),
    }
    nodes += [
        node(norm, "maps s o", "n"),
        node("GlobalAveragePool", "n", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat w b", "logits", transB=1),
    ]
    return open_model(save_net(path, nodes, weights, outputs={"logits": ["N", CLASSES]}), provider="cpu")


@pytest.mark.parametrize("method", METHODS)
def test_a_map_before_an_instance_norm_and_a_mean_is_empty(
    method: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    model = build(tmp_path / "m.onnx", rng, "InstanceNormalization")
    # The mean over places of an instance norm is its bias: no picture changes any score.
    scores = np.concatenate([model.scores(picture(rng)) for _ in range(4)])
    assert np.ptp(scores, axis=0).max() < 1e-5
    for _ in range(3):
        for found in class_activation_maps(model, picture(rng), method=method, layer="relu", top=CLASSES):
            assert found.empty, (found.raw.max(), found.backend)
            assert not found.heatmap.any()


@pytest.mark.parametrize("backend", ["onnx", "twin"])
@pytest.mark.parametrize("method", METHODS)
def test_a_map_before_its_mean_is_taken_off_is_empty(
    method: str, backend: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    """The mean over places of what lies around its mean is zero, and the rounding is the same for every picture."""
    nodes, weights = trunk(rng)
    weights |= {"w": normal(rng, CLASSES, CHANNELS)}
    nodes += [
        node("GlobalAveragePool", "maps", "mean"),
        node("Sub", "maps mean", "centred"),
        node("GlobalAveragePool", "centred", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat w", "logits", transB=1),
    ]
    model = open_model(save_net(tmp_path / "m.onnx", nodes, weights, outputs={"logits": ["N", CLASSES]}))
    assert np.abs(model.scores(picture(rng))).max() < 1e-5
    found = class_activation_maps(model, picture(rng), method=method, layer="relu", backend=backend, classes=[1])
    assert found[0].empty, found[0].raw.max()
    assert not found[0].heatmap.any()


@pytest.mark.parametrize("backend", ["onnx", "twin"])
@pytest.mark.parametrize("method", ["gradcam"])
def test_the_mean_gradient_before_a_softmax_over_places_is_zero(
    method: str, backend: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Weights of attention over the places, from maps: their sum over the places does not change."""
    nodes, weights = trunk(rng)
    weights |= {
        "flat": np.array([0, CHANNELS, -1]),
        "v": normal(rng, 1, CHANNELS, 64),
        "w": normal(rng, CLASSES, CHANNELS),
        "b": normal(rng, CLASSES),
        "axes": np.array([2]),
    }
    nodes += [
        node("Add", "c c", "d"),
        node("Reshape", "d flat", "logit"),
        node("Softmax", "logit", "p", axis=-1),
        node("Mul", "p v", "read"),
        node("ReduceSum", "read axes", "rows", keepdims=0),
        node("Gemm", "rows w b", "scores", transB=1),
    ]
    nodes = [n for n in nodes if n.op_type != "Relu"]
    model = open_model(
        save_net(tmp_path / "m.onnx", nodes, weights, outputs={"scores": ["N", CLASSES]}), provider="cpu"
    )
    found = class_activation_maps(model, picture(rng), method=method, layer=name_of(model, "c"), backend=backend)
    assert found[0].empty
    assert found[0].backend == backend
    [full] = class_activation_maps(model, picture(rng), method="hirescam", layer=name_of(model, "c"), backend=backend)
    assert not full.empty  # place by place the gradient is not zero


@pytest.mark.parametrize("scale", [1e-20, 1e-9, 1e-5])
@pytest.mark.parametrize("method", METHODS)
def test_small_weights_are_evidence(method: str, scale: float, tmp_path: Path, rng: np.random.Generator) -> None:
    """The same scores in another unit give the same map."""
    if method == "gradcam++" and scale < 1e-9:
        pytest.skip("its map is of the third power of the gradient, which float32 does not hold")
    maps = []
    for factor in (1.0, scale):
        rng = np.random.default_rng(5)
        nodes, weights = trunk(rng)
        weights |= {"w": normal(rng, CLASSES, CHANNELS) * np.float32(factor), "b": np.zeros(CLASSES, np.float32)}
        nodes += [
            node("GlobalAveragePool", "maps", "pool"),
            node("Flatten", "pool", "flat"),
            node("Gemm", "flat w b", "logits", transB=1),
            node("Sigmoid", "logits", "p"),
        ]
        path = save_net(tmp_path / f"{factor}.onnx", nodes, weights, outputs={"p": ["N", CLASSES]})
        maps += class_activation_maps(
            open_model(path, provider="cpu"), picture(rng), method=method, layer="relu", classes=[1, 2, 3]
        )
    wanted, found = maps[:3], maps[3:]
    assert [m.empty for m in found] == [m.empty for m in wanted]
    assert not all(m.empty for m in wanted)
    if method != "gradcam++":  # its divisor holds a constant
        assert all(np.abs(a.heatmap - b.heatmap).max() < 1e-4 for a, b in zip(wanted, found, strict=True))
