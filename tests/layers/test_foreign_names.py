"""Names that other people's exporters write: what a Keras, Paddle, JAX or TensorFlow user calls a layer finds it."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import pytest

from inspector import open_model
from inspector.cli.console import Console
from inspector.errors import LayerNotFound
from inspector.graph import read_graph
from inspector.layers import Layer, find_block, find_layer, find_layers
from tests.conftest import MakeModel
from tests.foreign import Net


def keras(scopes: Sequence[str], *, conv: str = "convolution", root: str = "functional_1") -> onnx.ModelProto:
    """Convolutions with a ReLU each, called as tf2onnx calls those of Keras."""
    net = Net(producer="tf2onnx")
    x, channels = net.input("x", (1, 3, 8, 8)), 3
    for scope in scopes:
        path = f"{root}/{scope}"
        x = net.conv(x, channels, 4, name=f"{path}/{conv}", out=f"{path}/{conv}:0", w=f"{path}/kernel:0", bias=False)
        x = net("Relu", x, name=f"{path}/Relu", out=f"{path}/Relu:0")
        channels = 4
    return net.model(x)


def tensor_of(make_model: MakeModel, proto: onnx.ModelProto, name: str) -> str:
    return find_layer(find_layers(read_graph(make_model(proto))), name).tensor


VGG = [f"block{i}_conv{j}_1" for i in (4, 5) for j in (1, 2, 3)]


@pytest.mark.parametrize(
    "name",
    [
        "block5_conv3", "block5_conv3_1", "functional_1/block5_conv3_1/Relu", "functional_1/block5_conv3_1/Relu:0",
        "block5_conv3_1/Relu:0", "block5_conv3_1.relu", "BLOCK5_CONV3",
    ],
)  # fmt: skip
def test_a_keras_name_is_the_layer_after_its_activation(name: str, make_model: MakeModel) -> None:
    assert tensor_of(make_model, keras(VGG), name) == "functional_1/block5_conv3_1/Relu:0"


def test_the_convolution_alone_has_a_name_too(make_model: MakeModel) -> None:
    assert tensor_of(make_model, keras(VGG), "block5_conv3.conv") == "functional_1/block5_conv3_1/convolution:0"
    assert tensor_of(make_model, keras(VGG), "block5_conv3_1/convolution:0").endswith("/convolution:0")


def test_keras_2_writes_no_counter(make_model: MakeModel) -> None:
    proto = keras([scope.removesuffix("_1") for scope in VGG], conv="Conv2D", root="StatefulPartitionedCall/vgg16")
    assert tensor_of(make_model, proto, "block5_conv3") == "StatefulPartitionedCall/vgg16/block5_conv3/Relu:0"
    assert tensor_of(make_model, proto, "vgg16/block5_conv3/Relu:0").endswith("block5_conv3/Relu:0")


def test_the_counter_of_keras_3_is_no_part_of_the_name(make_model: MakeModel) -> None:
    """Keras opens each scope twice; what TensorFlow then calls it is worked out here by TensorFlow's own rule."""
    used: dict[str, int] = {}

    def unique(name: str) -> str:
        count = used.get(name, 0)
        used[name] = count + 1
        if not count:
            return name
        base = name
        while name in used:
            name, count = f"{base}_{count}", count + 1
        used[name] = 1
        return name

    given = ["conv2d", *(f"conv2d_{i}" for i in range(1, 31))]
    scopes = [(unique(name), unique(name))[1] for name in given]
    assert scopes[:3] == ["conv2d_1", "conv2d_1_2", "conv2d_2_1"]
    layers = find_layers(read_graph(make_model(keras(scopes))))
    for name, scope in zip(given, scopes, strict=True):
        assert find_layer(layers, name).tensor == f"functional_1/{scope}/Relu:0", name


def test_older_counters_are_names(make_model: MakeModel) -> None:
    """The second model of a Keras 2 session begins at conv2d_1; nothing is taken off there."""
    proto = keras(["conv2d_1", "conv2d_2", "conv2d_3"], conv="Conv2D", root="model_1")
    for name in ("conv2d_1", "conv2d_2", "conv2d_3"):
        assert tensor_of(make_model, proto, name) == f"model_1/{name}/Relu:0"


def layer(name: str) -> Layer:
    return Layer(name, f"t:{name}", "conv", (1, 2, 3, 4), False)


def test_a_number_is_not_cut_in_two() -> None:
    layers = [layer(n) for n in ("conv2d_30", "a12.conv", "head")]
    for name in ("conv2d_3", "2.conv", "onv2d_3"):
        with pytest.raises(LayerNotFound, match="there is no layer"):
            find_layer(layers, name)
    assert find_layer(layers, "v2d_30").name == "conv2d_30"


def test_the_last_of_a_block_is_meant() -> None:
    layers = [layer(n) for n in ("l1.0.conv1", "l1.0.relu", "l1.1.conv1", "l1.1.relu", "l1.10.conv1", "act_1", "act_2")]
    assert [x.name for x in find_block(layers, "l1.1")] == ["l1.1.conv1", "l1.1.relu"]
    assert find_layer(layers, "l1.1").name == "l1.1.relu"
    assert find_layer(layers, "l1/0").name == "l1.0.relu"
    for name in ("conv1", "relu", "act"):  # several blocks
        with pytest.raises(LayerNotFound, match="layers go by"):
            find_layer(layers, name)


@pytest.mark.parametrize(
    "name", ["p2o.pd_op.relu.1.0", "p2o.pd_op.relu.1", "pd_op.relu.1", "relu.1.0", "relu.1", "relu_1"]
)
def test_names_of_paddle(name: str, make_model: MakeModel) -> None:
    net = Net(producer="PaddlePaddle")
    x, channels = net.input("image", (1, 3, 8, 8)), 3
    for i in range(17):
        x = net.conv(x, channels, 4, w=f"conv2d_{i}.w_0", bias=False, name=f"Conv.{i}", out=f"p2o.pd_op.conv2d.{i}.0")
        x = net("Relu", x, name=f"Relu.{i}", out=f"p2o.pd_op.relu.{i}.0")
        channels = 4
    proto = net.model(x)
    assert tensor_of(make_model, proto, name) == "p2o.pd_op.relu.1.0"
    assert tensor_of(make_model, proto, name.replace("relu.1", "relu.16").replace("relu_1", "relu_16")).endswith("16.0")


def test_names_of_jax(make_model: MakeModel) -> None:
    """Flax counts its modules from 0; that count is the name. The activation is a function outside of them."""
    net = Net(producer="tf2onnx")
    x, channels = net.input("x", (1, 3, 8, 8)), 3
    for i in (0, 1, 10):
        path = f"PartitionedCall/jax2tf_apply_/ResNet/Conv_{i}/conv_general_dilated"
        x = net.conv(x, channels, 4, name=f"{path}/Conv2D", out=f"{path}/Conv2D:0", bias=False)
        x = net("Relu", x, name=f"Relu__{i}", out=f"Relu__{i}:0")
        channels = 4
    proto = net.model(x)
    for name in ("Conv_1", "ResNet/Conv_1", "Conv_1/conv_general_dilated/Conv2D:0"):
        assert tensor_of(make_model, proto, name).endswith("/Conv_1/conv_general_dilated/Conv2D:0")


NODES = {
    "path": ["a/conv", "b/conv", "a/b/conv", "conv"],
    "tensorflow": ["model/a:0", "model/b:0", "model/a:0:1", "scope:b"],
    "mxnet": ["stage1_unit1_conv1_fwd", "stage1_unit10_conv1_fwd", "stage11_unit1_conv1_fwd", "c_fwd"],
    "long": ["x" * 300, "x" * 299 + "y", "y" + "x" * 300, "x" * 250 + "z" + "x" * 49],
    "signs": ["/", "//", "_", ":"],
    "spaces": ["conv", " conv", "conv ", "con\tv"],
    "letters": ["é/conv", "层/卷积", "блок/слой_1", "Блок/слой_1"],
    "numbers": ["conv2d_1", "conv2d_11", "1", "conv2d"],
    "caffe": ["conv1/7x7_s2", "inception_3a/3x3_reduce", "inception_3a/3x3", "inception_3a/1x1"],
}


@pytest.mark.parametrize("kind", NODES)
def test_a_node_s_own_name_is_its_layer(kind: str, make_model: MakeModel) -> None:
    """As other viewers show it, letter for letter."""
    net = Net()
    x, channels = net.input("x", (1, 3, 8, 8)), 3
    for number, name in enumerate(NODES[kind]):
        x = net("Relu", net.conv(x, channels, 4, name=name, out=f"t{number}"))
        channels = 4
    layers = find_layers(read_graph(make_model(net.model(x))))
    for number, name in enumerate(NODES[kind]):
        assert find_layer(layers, name).tensor == f"t{number}"
    for layer in layers:
        assert find_layer(layers, layer.name) is layer


def test_what_a_short_name_was_taken_for_is_said(make_model: MakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    net = Net()
    x = net.conv(net.input("x", (1, 3, 8, 8)), 3, 4, name="stem/one/Conv")
    x = net("Relu", x, name="stem/two/Relu")
    net("Relu", net.conv(x, 4, 4, name="rest/one/Conv"), name="rest/two/Relu")
    model = open_model(make_model(net.model(x)))
    [found] = Console("cam", json=False, quiet=False).layers(model, ["stem"])
    assert found.tensor == x
    assert "--layer stem: taken for stem.two, the last of the 2 layers of that block" in capsys.readouterr().err
