"""The layer that is looked at when none is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from inspector import open_model
from inspector.cam import prepare
from inspector.errors import LayerNotFound, NotComputable
from inspector.metadata import LayerEntry, Metadata
from inspector.model import Model
from tests.cam.nets import CHANNELS, CLASSES, node, normal, picture, pooled_net, save_net, trunk


def test_the_last_maps_before_the_pool(pooled: Model) -> None:
    engine = prepare(pooled)
    assert [x.name for x in engine.layers] == ["trunk.relu"]
    assert engine.reason == (
        "the last maps (8x8) that every way to the scores passes through; gradient in closed form: the head is linear"
    )


def test_the_metadata_choice_comes_first(tmp_path: Path, rng: np.random.Generator) -> None:
    layers = (LayerEntry("stem", "c", "conv"), LayerEntry("act", "maps", "activation"))
    chosen = Metadata(layers=layers, cam_layer="stem")
    engine = prepare(open_model(pooled_net(tmp_path / "m.onnx", rng, metadata=chosen)[0]))
    assert engine.layers[0].tensor == "c"
    assert engine.reason.startswith("the layer that the file's metadata names")
    lost = Metadata(layers=layers, cam_layer="gone.9")
    engine = prepare(open_model(pooled_net(tmp_path / "n.onnx", rng, metadata=lost)[0]))
    assert engine.layers[0].tensor == "maps"
    assert "the metadata's 'gone.9' is not in the file" in engine.reason


def test_branches_are_passed_over_for_where_they_meet(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes, weights = trunk(rng)
    nodes += [
        node("Conv", "maps k2", "left", pads=[1, 1, 1, 1]),
        node("Conv", "maps k3", "right"),
        node("GlobalAveragePool", "left", "p1"),
        node("GlobalAveragePool", "right", "p2"),
        node("Concat", "p1 p2", "both", axis=1),
        node("Flatten", "both", "flat"),
        node("Gemm", "flat w", "logits", transB=1),
    ]
    weights |= {"k2": normal(rng, 4, CHANNELS, 3, 3), "k3": normal(rng, 4, CHANNELS, 1, 1), "w": normal(rng, 5, 8)}
    model = open_model(save_net(tmp_path / "m.onnx", nodes, weights, outputs={"logits": ["N", 5]}))
    engine = prepare(model)
    assert engine.layers[0].tensor == "maps"
    assert engine.heads[0].bottleneck
    # A branch may still be named; the other is then held as it is.
    x = picture(rng)
    [found] = prepare(model, "cam", "left").maps(x, classes=[2])
    left = model.run(x, ["left"])["left"][0]
    wanted = np.einsum("c,chw->hw", weights["w"][2, :4], left)
    assert np.abs(found.raw - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_class_maps_before_a_pool_are_not_looked_at_themselves(tmp_path: Path, rng: np.random.Generator) -> None:
    """SqueezeNet's form: the last maps are the classes' own, one channel each."""
    nodes, weights = trunk(rng)
    nodes += [
        node("Conv", "maps w b", "masks"),
        node("Relu", "masks", "active"),
        node("GlobalAveragePool", "active", "pool"),
        node("Flatten", "pool", "logits"),
    ]
    weights |= {"w": normal(rng, CLASSES, CHANNELS, 1, 1), "b": normal(rng, CLASSES)}
    model = open_model(save_net(tmp_path / "m.onnx", nodes, weights, outputs={"logits": ["N", CLASSES]}))
    assert prepare(model).layers[0].tensor == "maps"
    assert prepare(model).backend == "onnx"


def test_pools_are_not_chosen(tmp_path: Path, rng: np.random.Generator) -> None:
    """VGG's form: the maps before the last pool are finer, and hold the same."""
    nodes, weights = trunk(rng)
    nodes += [
        node("MaxPool", "maps", "small", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", "small", "flat"),
        node("Gemm", "flat w", "logits", transB=1),
    ]
    weights |= {"w": normal(rng, CLASSES, CHANNELS * 16)}
    model = open_model(save_net(tmp_path / "m.onnx", nodes, weights, outputs={"logits": ["N", CLASSES]}))
    assert prepare(model).layers[0].tensor == "maps"
    assert prepare(model).backend == "onnx"
    assert prepare(model, layer="small").layers[0].kind == "pool"  # but may be named


def test_without_a_bottleneck_the_last_maps_are_taken(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes, weights = trunk(rng)
    nodes += [
        node("GlobalAveragePool", "x", "px"),
        node("GlobalAveragePool", "maps", "pm"),
        node("Concat", "px pm", "both", axis=1),
        node("Flatten", "both", "flat"),
        node("Gemm", "flat w", "logits", transB=1),
    ]
    weights |= {"w": normal(rng, CLASSES, CHANNELS + 3)}
    model = open_model(save_net(tmp_path / "m.onnx", nodes, weights, outputs={"logits": ["N", CLASSES]}))
    engine = prepare(model)
    assert engine.layers[0].tensor == "maps"
    assert "other ways lead around them" in engine.reason
    assert engine.maps(picture(rng))[0].raw.any()


def test_a_network_without_maps(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [node("Flatten", "x", "flat"), node("Gemm", "flat w", "logits", transB=1)]
    weights = {"w": normal(rng, 4, 3 * 64)}
    path = save_net(tmp_path / "m.onnx", nodes, weights, outputs={"logits": ["N", 4]}, shape=("N", 3, 8, 8))
    with pytest.raises(NotComputable, match=r"no layer with maps larger than 1x1 before 'logits'; .*convolutional"):
        prepare(open_model(path))


def test_layers_that_cannot_be_looked_at(pooled: Model, tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(LayerNotFound, match=r"there is no layer 'trunk.rleu'; nearest: trunk.relu"):
        prepare(pooled, layer="trunk.rleu")
    with pytest.raises(NotComputable, match=r"has no maps to weigh: its shape is .*layers with maps: trunk.relu"):
        prepare(pooled, layer="logits")
    nodes, weights = trunk(rng)
    nodes += [
        node("Conv", "maps w", "aside"),
        node("GlobalAveragePool", "maps", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat v", "logits", transB=1),
    ]
    weights |= {"w": normal(rng, 3, CHANNELS, 1, 1), "v": normal(rng, CLASSES, CHANNELS)}
    outputs = {"aside": ["N", 3, 8, 8], "logits": ["N", CLASSES]}
    model = open_model(save_net(tmp_path / "m.onnx", nodes, weights, outputs=outputs))
    with pytest.raises(NotComputable, match=r"layer 'head.aside' does not lead to 'logits'"):
        prepare(model, layer="aside")


def test_a_layer_named_twice_counts_once(pooled: Model) -> None:
    assert len(prepare(pooled, layer=["trunk.relu", "relu"]).layers) == 1


def test_shapes_that_the_file_does_not_tell_are_seen_in_a_run(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes, weights = trunk(rng)
    nodes += [
        helper.make_node("QuickGelu", ["maps"], ["quick"], "head/quick", domain="com.microsoft"),
        node("Conv", "quick k2", "c2"),
        node("Relu", "c2", "deep"),
        node("GlobalAveragePool", "deep", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat w", "logits", transB=1),
    ]
    weights |= {"k2": normal(rng, 4, CHANNELS, 1, 1), "w": normal(rng, CLASSES, 4)}
    path = tmp_path / "m.onnx"
    plain = [*nodes[:2], node("Relu", "maps", "quick"), *nodes[3:]]
    proto = onnx.load(save_net(path, plain, weights, outputs={"logits": ["N", CLASSES]}))
    proto.graph.node[2].CopyFrom(nodes[2])
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(proto, path)
    model = open_model(path)
    assert next(x for x in model.layers if x.tensor == "deep").shape is None
    engine = prepare(model)
    assert (engine.layers[0].tensor, engine.layers[0].shape) == ("deep", (1, 4, 8, 8))
    assert engine.maps(picture(rng))[0].shape == (8, 8)
    # The operator of the other domain is one whose derivative is known.
    assert prepare(model, "layercam", "trunk.relu").maps(picture(rng))[0].backend == "onnx"
