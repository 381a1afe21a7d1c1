"""Real architectures with random weights: the names mean the modules, and every layer is there and compared."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from inspector.graph import read_graph
from inspector.layers import find_layer, find_layers
from inspector.metadata import read_metadata
from tests.exporters.conftest import ROOT, Made, recorded

NETWORKS = {
    "torchvision:resnet18": {
        "layers": 48,
        "exposed": 46,
        "cam": "layer4.1.relu_1",
        "shapes": {
            "conv1": ("N", 64, 112, 112),
            "maxpool": ("N", 64, 56, 56),
            "layer1.0.relu": ("N", 64, 56, 56),
            "layer1.0.add": ("N", 64, 56, 56),
            "layer1.0.relu_1": ("N", 64, 56, 56),
            "layer2.0.downsample.0": ("N", 128, 28, 28),
            "layer4.1.conv2": ("N", 512, 7, 7),
            "fc": ("N", 1000),
        },
        "aliases": {"bn1": "conv1", "layer4": "layer4.1.relu_1", "layer1.0": "layer1.0.relu_1"},
    },
    "torchvision:mobilenet_v3_small": {
        "layers": 121,
        "exposed": 72,
        "cam": "features.12.2",
        "shapes": {
            "features.0.0": ("N", 16, 112, 112),
            "features.1.block.1": ("N", 16, 56, 56),
            "features.1.block.1.fc1": ("N", 8, 1, 1),
            "features.3": ("N", 24, 28, 28),
            "features.12.2": ("N", 576, 7, 7),
            "classifier.3": ("N", 1000),
        },
        "aliases": {"features.0": "features.0.2", "features.12": "features.12.2"},
    },
    "tests.exporters.nets:densenet": {
        "layers": 91,
        "exposed": 89,
        "cam": "relu",
        "shapes": {
            "features.conv0": ("N", 64, 32, 32),
            "features.denseblock1.denselayer2.concat": ("N", 96, 16, 16),
            "features.denseblock1.denselayer2.norm1": ("N", 96, 16, 16),
            "features.transition1.pool": ("N", 80, 8, 8),
            "features.norm5": ("N", 188, 2, 2),
        },
        "aliases": {"features.norm0": "features.conv0"},
    },
    "tests.exporters.nets:convnext": {
        "layers": 41,
        "exposed": 38,
        "cam": "features.7.0",
        "shapes": {
            "features.0.0": ("N", 24, 16, 16),
            "features.0.1": ("N", 24, 16, 16),
            "features.1.0": ("N", 24, 16, 16),
            "features.1.0.block.3": ("N", 96, 16, 16),
            "features.7.0": ("N", 96, 2, 2),
        },
        "aliases": {},
    },
    "timm:efficientnet_b0": {
        "layers": 189,
        "exposed": 107,
        "cam": "bn2.act",
        "shapes": {
            "conv_stem": ("N", 32, 112, 112),
            "blocks.0.0.conv_dw": ("N", 32, 112, 112),
            "blocks.0.0.se": ("N", 32, 112, 112),
            "blocks.1.1": ("N", 24, 56, 56),
            "conv_head": ("N", 1280, 7, 7),
            "classifier": ("N", 1000),
        },
        "aliases": {"bn1": "bn1.act"},
    },
    "tests.exporters.nets:vgg16": {
        "layers": 37,
        "exposed": 32,
        "cam": "features.29",
        "shapes": {
            "features.0": ("N", 8, 64, 64),
            "features.28": ("N", 64, 4, 4),
            "features.30": ("N", 64, 2, 2),
            "classifier.6": ("N", 1000),
        },
        "aliases": {
            "block1_conv1": "features.0",
            "block2_conv1": "features.5",
            "block3_conv1": "features.10",
            "block4_conv1": "features.17",
            "block5_conv1": "features.24",
            "block5_conv2": "features.26",
            "block5_conv3": "features.28",
            "block5_conv3_relu": "features.29",
            "block5_pool": "features.30",
            "predictions": "classifier.6",
        },
    },
}


def _mark(spec: str) -> Any:
    """The largest runs with the slow tests."""
    return pytest.param(spec, marks=pytest.mark.slow) if spec.endswith("efficientnet_b0") else spec


@pytest.fixture(scope="module", params=[_mark(spec) for spec in NETWORKS], ids=lambda spec: spec.partition(":")[2])
def network(request, make) -> Iterator[tuple[Made, dict]]:
    yield make(request.param), NETWORKS[request.param]
    make.forget(request.param)


def test_layers_have_the_names_and_shapes_of_their_modules(network):
    made, expected = network
    layers = {layer.name: layer for layer in made.exported.layers}
    assert len(layers) == len(made.exported.layers) == expected["layers"]
    assert sum(len(x.shape) == 4 and x.exposed for x in layers.values()) == expected["exposed"]
    assert {name: layers[name].shape for name in expected["shapes"]} == expected["shapes"]
    assert made.exported.metadata.cam_layer == expected["cam"]
    assert {alias: find_layer(made.exported.layers, alias).name for alias in expected["aliases"]} == expected["aliases"]


def test_a_layer_named_after_a_module_is_what_the_module_gives(network):
    made, _ = network
    pictures = made.pictures()
    module = made.source.module.eval()
    with torch.no_grad(), recorded(module) as hooks:
        scores = module(torch.from_numpy(pictures)).numpy()
    values = made.run(pictures)
    np.testing.assert_allclose(values["logits"], scores, atol=1e-3 * np.abs(scores).max())
    checked, folded = 0, []
    for layer in made.exported.layers:
        if not layer.exposed:
            continue
        value = values[layer.tensor]
        call = re.fullmatch(r"(.+)_(\d+)", layer.name)
        known = [hooks[name][0] for name in (layer.name, *layer.aliases) if name in hooks]
        if not known and call and call[1] in hooks:
            known = [hooks[call[1]][int(call[2])]]
        if layer.channels_last:
            # torch's LayerNorm works on either order, depending on what was permuted before it.
            known += [np.moveaxis(k, 1, -1) for k in known]
        errors = [np.abs(value - k).max() for k in known if k.shape == value.shape]
        if not errors:
            assert not known, f"{layer.name} has the shape of no module"
        elif min(errors) <= 1e-3 * np.abs(value).max():
            checked += 1
        else:
            folded.append(layer)
    # timm's norms hold their activation, so that no module gives what a convolution folded with such a norm gives.
    assert all(layer.kind == "conv" for layer in folded)
    assert not folded or made.source.name.startswith("timm:")
    assert checked >= 0.6 * sum(layer.exposed for layer in made.exported.layers)


def test_every_output_was_compared_and_agrees(network):
    made, _ = network
    graph = read_graph(made.path)
    tensors = {layer.name: layer.tensor for layer in made.exported.layers}
    rows = made.exported.parity
    assert {tensors.get(row.layer, row.layer) for row in rows} == set(graph.outputs)
    assert len(rows) == len(graph.outputs)
    assert all(row.ok and 0 <= row.max_abs <= 1e-3 * row.scale for row in rows)
    assert made.exported.picture == "chelsea.jpg"


def test_the_file_is_whole_typed_and_says_everything(network):
    made, _ = network
    structure = onnx.load(made.path)
    onnx.checker.check_model(structure)
    assert structure.graph.output[0].name == "logits"
    for value in (*structure.graph.input, *structure.graph.output):
        dims = value.type.tensor_type.shape.dim
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert dims[0].dim_param == "N"
        assert all(d.dim_value > 0 for d in dims[1:])
    assert not any(t.external_data for t in structure.graph.initializer)
    graph = read_graph(made.path)
    metadata = read_metadata(graph.metadata)
    assert metadata == made.exported.metadata
    assert find_layers(graph, metadata.layers) == made.exported.layers
    if not made.source.name.startswith("tests."):
        assert len(metadata.labels) == len(set(metadata.labels)) == 1000
        assert metadata.labels[285] == "Egyptian cat"
        assert metadata.preprocess.size == (224, 224)
    assert (metadata.output, metadata.activation) == ("logits", "softmax")
    assert metadata.source["spec"] == made.source.name
    assert metadata.versions["opset"] == "20"
    assert graph.opset == 20
    assert metadata.versions["torch"] == torch.__version__
    assert all(
        layer.tensor == layer.name for layer in made.exported.layers if layer.exposed and layer.tensor != "logits"
    )


def test_nothing_of_this_machine_is_in_the_file(network):
    made, _ = network
    data = made.path.read_bytes()
    for trace in (str(ROOT), str(Path.home()), "site-packages", ".py", "stack_trace", "pkg.torch"):
        # Four letters occur by chance in hundreds of megabytes of weights; a path is longer and printable around it.
        for hit in re.finditer(re.escape(trace.encode()), data):
            around = data[max(0, hit.start() - 8) : hit.end()]
            assert not around.isascii() or not around.decode().isprintable(), (trace, around)


def test_any_number_of_pictures_at_a_time(network):
    made, _ = network
    pictures = made.pictures(2)
    together = made.run(pictures)
    for name, value in made.run(pictures[1:]).items():
        np.testing.assert_allclose(together[name][1], value[0], atol=1e-4 * np.abs(value).max(), err_msg=name)
