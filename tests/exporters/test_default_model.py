"""The model in the repository is what its recipe makes and what its metadata says."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import onnxruntime as ort
import pytest
import skimage.data

from inspector.graph import read_graph
from inspector.image import open_image
from inspector.layers import find_layer, find_layers
from inspector.metadata import read_metadata
from tests.exporters.conftest import ROOT, recorded

MODEL = ROOT / "models" / "efficientnet-lite0.onnx"


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("recipe_of_efficientnet_lite0", ROOT / "models/efficientnet_lite0.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def graph():
    return read_graph(MODEL)


@pytest.fixture(scope="module")
def metadata(graph):
    return read_metadata(graph.metadata)


def test_it_says_egyptian_cat_for_the_cat(metadata):
    session = ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    tensor = metadata.preprocess.tensor(open_image(skimage.data.chelsea()))
    scores = session.run(["logits"], {"input": tensor})[0][0].astype(np.float64)
    shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    best = np.argsort(-shares)[:3]
    assert [metadata.labels[i] for i in best] == ["Egyptian cat", "tabby", "tiger cat"]
    np.testing.assert_allclose(shares[best], [0.763, 0.100, 0.097], atol=0.005)


def test_it_has_the_layers_of_its_metadata(graph, metadata):
    layers = find_layers(graph, metadata.layers)
    assert [layer.name for layer in layers] == [entry.name for entry in metadata.layers]
    features = [layer for layer in layers if layer.exposed and len(layer.shape) == 4]
    assert len(features) == 91
    assert sum(layer.channels for layer in features) == 41_232
    assert graph.outputs == ("logits", *(layer.name for layer in features))
    assert [layer.name for layer in layers if not layer.exposed] == ["avg_pooling"]
    assert metadata.cam_layer == "swish_1"
    assert find_layer(layers, "fc").tensor == metadata.output == "logits"
    assert not any(part.startswith("_") for layer in layers for part in layer.name.split("."))
    shapes = {layer.name: layer.shape[1:] for layer in layers}
    assert shapes["conv_stem"] == (32, 112, 112)
    assert shapes["blocks.0.depthwise_conv"] == (32, 112, 112)
    assert shapes["blocks.2"] == (24, 56, 56)
    assert shapes["swish_1"] == (1280, 7, 7)
    for path, name in (("_conv_stem", "conv_stem"), ("_blocks.5._bn2", "blocks.5.project_conv"), ("_fc", "fc")):
        assert find_layer(layers, path).name == name


def test_its_metadata_is_complete(graph, metadata, recipe):
    assert metadata.preprocess == recipe.PREPROCESS
    assert metadata.labels == recipe.imagenet_labels()
    assert len(set(metadata.labels)) == 1000
    assert metadata.activation == "softmax"
    assert metadata.licence == "Apache-2.0"
    assert {"torch", "onnxscript", "inspector", "opset"} <= set(metadata.versions)
    assert graph.opset == int(metadata.versions["opset"])
    notice = (ROOT / "models" / "NOTICE").read_text(encoding="utf-8")
    assert metadata.source["weights"]["sha256"] in notice
    assert MODEL.stat().st_size < 20e6


def test_nothing_of_the_machine_that_made_it_is_in_it():
    data = MODEL.read_bytes()
    for trace in (
        b"/work",
        b"/home",
        b"/root",
        b"/tmp",
        b"site-packages",
        b"stack_trace",
        b"pkg.torch",
        b".py\n",
        b".py:",
    ):
        assert trace not in data


@pytest.mark.slow
def test_the_recipe_makes_it_again(recipe, graph, metadata, tmp_path):
    made = recipe.make(tmp_path / "again.onnx")
    if made.metadata.versions == metadata.versions:
        assert made.sha256 == graph.sha256
    assert made.metadata.with_(versions={}) == metadata.with_(versions={})
    assert len(made.parity) == 92
    assert all(row.ok for row in made.parity)


def test_its_layers_are_what_the_modules_of_the_package_give(recipe, metadata):
    import torch

    module = recipe.source().module.eval()
    tensor = metadata.preprocess.tensor(open_image(ROOT / "docs" / "chelsea.jpg"))
    with torch.no_grad(), recorded(module) as hooks:
        module(torch.from_numpy(tensor))
    session = ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    pairs = {
        "conv_stem": hooks["_bn0"][0],
        "swish": hooks["_swish"][0],
        "blocks.1.swish_1": hooks["_blocks.1._swish"][1],
        "blocks.5.project_conv": hooks["_blocks.5._bn2"][0],
        "blocks.2": hooks["_blocks.2"][0],
        "blocks.14": hooks["_blocks.14"][0],
        "swish_1": hooks["_swish"][1],
        "logits": hooks["_fc"][0],
    }
    for value, (name, expected) in zip(session.run(list(pairs), {"input": tensor}), pairs.items(), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-3 * np.abs(expected).max(), err_msg=name)
