"""Files of other people's converters: they open, their layers have names a person would use, and the values are right.

The oracle for values is onnx's reference evaluator on small graphs, and onnxruntime on the fully loaded model, with the
tensors added as outputs, on the real architectures of the onnx wheel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from inspector import open_model, statistics
from inspector.model import Model
from tests.conftest import LIGHT, MakeModel, require
from tests.foreign import pixels
from tests.foreign.converters import BUILDERS
from tests.foreign.oracle import oracle

NAMES = {
    "tf2onnx_keras": """
        block1_conv1.conv:conv block1_conv1:activation block1_conv2:conv block1_act:activation block1_pool:pool
        avg_pool:pool predictions.linear:linear predictions:softmax
    """,
    "tf2onnx_mobilenet": """
        bn_Conv1:conv Conv1_relu:activation expanded_conv_depthwise:conv
        expanded_conv_depthwise_relu:activation expanded_conv_project_BN:conv block_2_add:add
        global_average_pooling2d:pool predictions.linear:linear predictions:softmax
    """,
    "paddle": """
        conv2d_0:conv hardswish_0:activation conv2d_1:conv relu_0:activation pool2d_0:pool conv2d_2:conv
        relu_1:activation conv2d_3:conv hardsigmoid_0:activation elementwise_mul_0:gate
        elementwise_mul_0.add:add pool2d_1:pool linear_0:linear softmax_0:softmax
    """,
    "caffe": """
        conv1:conv relu_conv1:activation norm1:norm pool1:pool fc2:linear prob:softmax
    """,
    "pytorch_1": """
        conv1:conv conv1.relu:activation layer1.0.conv1:conv layer1.0.conv1.relu:activation layer1.0.conv2:conv
        layer1.0.conv2.add:add layer1.0.conv2.relu:activation layer1.0.conv2.avgpool:pool fc:linear
    """,
    "pytorch_names_lost": """
        conv:conv relu:activation conv_1:conv relu_1:activation conv_2:conv add:add relu_2:activation
        maxpool:pool avgpool:pool fc:linear
    """,
    "yolo": """
        model.0.conv:conv model.0.act:activation model.1.cv1.conv:conv model.1.cv1.act:activation
        model.1.m.0.cv1.conv:conv model.1.m.0.cv1.act:activation model.1.m.0.cv2.conv:conv
        model.1.m.0.cv2.act:activation model.1.m.0:add model.1.concat:concat model.1.cv2.conv:conv
        model.1.cv2.act:activation model.2.conv:conv model.2.act:activation model.3.m:pool model.3.m_1:pool
        model.3.concat:concat model.3.cv2.conv:conv model.3.cv2.act:activation model.4:resize model.5:concat
        model.6.cv2.0.2:conv model.6.cv3.0.2:conv model.6.concat:concat model.6.sigmoid:activation
        model.6:concat
    """,
    "mxnet": """
        resnetv15_conv0:conv resnetv15_relu0:activation resnetv15_pool0:pool resnetv15_stage1_conv0:conv
        resnetv15_stage1__plus0:add resnetv15_stage1_activation0:activation resnetv15_pool1:pool
        resnetv15_dense0:linear
    """,
    "keras2onnx": """
        conv2d:conv conv2d_Relu_0:activation batch_normalization:norm max_pooling2d:pool dense:linear
        dense.softmax:softmax
    """,
    "unnamed": """
        conv:conv leakyrelu:activation conv_1:conv add:add prelu:activation avgpool:pool avgpool_1:pool
        linear:linear logsoftmax:softmax
    """,
    "gelu_hardswish_mish": """
        stem:conv a:activation b.conv:conv b.act:activation c.conv:conv c.act:activation d.conv:conv
        d.act:activation e.conv:conv e.act:activation f.conv:conv f.act:activation g.conv:conv g.act:activation
        pool:pool fc:linear
    """,
    "squeeze_excite": """
        stem:conv act:activation se0.avgpool:pool se0.fc1:conv se0.act:activation se0.fc2:conv
        se0.gate:activation se0:gate se1.avgpool:pool se1.fc1:conv se1.act:activation se1.fc2:conv
        se1.gate:activation se1:gate spatial.conv:conv spatial.sigmoid:activation spatial:gate pool:pool
        head:conv
    """,
    "quantised": """
        conv1:conv relu:activation layer1.conv:conv layer1:add avgpool:pool fc:linear
    """,
    "half_precision": """
        conv1:conv relu:activation pool:pool fc:linear
    """,
    "normalises_itself": """
        backbone.conv:conv backbone.act:activation pool:pool head:linear head.sigmoid:activation
    """,
    "one_logit": """
        net.0:conv net.0.elu:activation net.0.maxpool:pool net.4:linear
    """,
    "local_functions": """
        block0:conv block0.relu:activation block1:conv block1.relu:activation pool:pool fc:linear
    """,
    "computed_weights": """
        conv1:conv conv1_2:activation conv2:conv conv2_2:activation pool5_1:pool pred:linear softmax_1:softmax
    """,
    "depthwise_bias": """
        conv:conv re_lu:activation dw:conv re_lu_1:activation max:pool dense:linear
    """,
}


def opened(name: str, make_model: MakeModel) -> Model:
    return open_model(make_model(BUILDERS[name]()))


@pytest.mark.parametrize("name", BUILDERS)
def test_layers(name: str, make_model: MakeModel) -> None:
    model = opened(name, make_model)
    assert " ".join(f"{x.name}:{x.kind}" for x in model.layers) == " ".join(NAMES[name].split())
    assert model.layers[0].kind == "conv"
    assert len({x.name for x in model.layers}) == len(model.layers)
    assert all(model.layer(x.name) is x for x in model.layers)


@pytest.mark.parametrize("name", BUILDERS)
def test_activations_equal_the_reference(name: str, make_model: MakeModel) -> None:
    proto = BUILDERS[name]()
    onnx.checker.check_model(proto, full_check=True)
    model = open_model(make_model(proto))
    feed = pixels(proto)
    found = model.layer_values(feed)[0]
    expected = oracle(proto, feed, [x.tensor for x in model.layers])
    assert list(found) == [x.name for x in model.layers]
    for layer in model.layers:
        value = expected[layer.tensor]
        if layer.channels_last and value.ndim > 2:
            value = np.moveaxis(value, -1, 1)
        have = found[layer.name]
        assert have.shape == value.shape, layer
        assert have.dtype == np.float32
        tolerance = 2e-3 if feed.dtype == np.float16 else 1e-4
        np.testing.assert_allclose(have, value, rtol=tolerance, atol=tolerance, err_msg=layer.name)
        assert layer.shape is not None
        for declared, real in zip(layer.shape, have.shape, strict=True):
            assert not isinstance(declared, int) or declared == real, layer


@pytest.mark.parametrize("name", BUILDERS)
def test_one_layer_alone_is_the_same(name: str, make_model: MakeModel, small_photo: NDArray[np.uint8]) -> None:
    model = opened(name, make_model)
    together = model.activations(small_photo)
    for layer in (model.layers[0], model.layers[len(model.layers) // 2], model.layers[-1]):
        alone = model.activations(small_photo, [layer.name])
        assert list(alone) == [layer.name]
        # onnxruntime fuses other nodes when a tensor is no output, so the last digits may differ.
        np.testing.assert_allclose(alone[layer.name], together[layer.name], rtol=1e-3, atol=1e-3)


EXPECTED = {  # layout, classes, activation, ends in it, part of what is assumed
    "tf2onnx_keras": ("NHWC", 5, "softmax", True, "imagenet"),
    "tf2onnx_mobilenet": ("NHWC", 4, "softmax", True, "input size 224x224"),
    "paddle": ("NCHW", 6, "softmax", True, "imagenet"),
    "caffe": ("NCHW", 7, "softmax", True, "imagenet"),
    "pytorch_1": ("NCHW", 6, "softmax", False, "imagenet"),
    "keras2onnx": ("NHWC", 6, "softmax", True, "imagenet"),
    "unnamed": ("NCHW", 4, "softmax", True, "input size 224x224"),
    "squeeze_excite": ("NCHW", 5, "softmax", False, "imagenet"),
    "normalises_itself": ("NHWC", 4, "sigmoid", True, "the graph normalises them itself"),
    "one_logit": ("NCHW", 1, "sigmoid", False, "grey, scaled to [0, 1]"),
    "computed_weights": ("NCHW", 5, "softmax", True, "imagenet"),
    "yolo": ("NCHW", None, None, None, "imagenet"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_input_and_classes(name: str, make_model: MakeModel, small_photo: NDArray[np.uint8]) -> None:
    layout, classes, activation, in_graph, assumed = EXPECTED[name]
    model = opened(name, make_model)
    assert model.input.layout == model.preprocess.layout == layout
    assert model.classes == classes
    assert assumed in "; ".join(model.assumed)
    if classes is None:
        assert model.classifier is None
        return
    assert model.classifier is not None
    assert (model.classifier.activation, model.classifier.in_graph) == (activation, in_graph)
    tensor = model.tensor(small_photo)
    probabilities = model.probabilities(model.scores(tensor))
    if in_graph:  # what the graph's own end makes of the scores
        value = model.run(tensor, [model.graph.outputs[0]])[model.graph.outputs[0]]
        value = np.exp(value) if "logsoftmax" in model.layers[-1].name else value
        np.testing.assert_allclose(probabilities, value.reshape(probabilities.shape), rtol=1e-4, atol=1e-6)
    if activation == "softmax":
        np.testing.assert_allclose(probabilities.sum(1), 1)
    top = model.predict(small_photo, top=2)
    assert top[0].probability >= top[-1].probability
    assert all(0 <= p.probability <= 1 for p in top)


# --- nine real architectures ------------------------------------------------------------------------------------------

LIGHT_MODELS = {
    "bvlc_alexnet": (21, "conv1 conv1.relu conv1.lrn conv1.maxpool", "fc7.relu fc8 prob_1"),
    "densenet121": (367, "conv1 conv1.relu conv1.maxpool conv2_1.x1.bn conv2_1.x1.bn.relu conv2_1.x1", "fc6"),
    "inception_v1": (141, "conv1.7x7_s2 conv1.7x7_s2.relu", "prob_1"),
    "inception_v2": (163, "conv1.7x7_s2 conv1.7x7_s2.relu", "prob_1"),
    "resnet50": (122, "conv1 conv1.relu conv1.maxpool res2_0_branch2a", "pred softmax_1"),
    "shufflenet": (105, "conv3_0 conv3_0.relu conv3_0.maxpool gconv1_0", "softmax_1"),
    "squeezenet": (65, "conv1 conv1.relu conv1.maxpool fire2.squeeze1x1", "softmaxout_1"),
    "vgg19": (43, "conv1_1 conv1_1.relu conv1_2 conv1_2.relu conv1_2.maxpool", "fc8 prob_1"),
    "zfnet512": (21, "conv1 conv1.relu conv1.lrn", "softmax_1"),
}


@pytest.mark.parametrize("name", LIGHT_MODELS)
def test_real_architectures_have_their_layers(name: str) -> None:
    model = open_model(LIGHT / f"light_{name}.onnx")
    count, first, last = LIGHT_MODELS[name]
    names = [x.name for x in model.layers]
    assert len(names) == len(set(names)) == count
    assert names[: len(first.split())] == first.split()
    assert names[-len(last.split()) :] == last.split()
    assert all(x.shape and all(isinstance(s, int) for s in x.shape) for x in model.layers)


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "inception_v2", "densenet121", "resnet50", "zfnet512"])
def test_real_architectures_have_their_values(name: str, small_photo: NDArray[np.uint8]) -> None:
    import onnxruntime

    path = LIGHT / f"light_{name}.onnx"
    model = open_model(path)
    tensor = model.tensor(small_photo)
    chosen = model.layers[:: max(1, len(model.layers) // 30)]
    found = model.layer_values(tensor, chosen)[0]
    whole = onnx.load(path)
    del whole.graph.output[:]
    whole.graph.output.extend(onnx.ValueInfoProto(name=x.tensor) for x in chosen)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    expected = session.run([x.tensor for x in chosen], {model.input.name: tensor})
    for layer, value in zip(chosen, expected, strict=True):
        scale = max(float(np.abs(value).max()), 1e-6)
        np.testing.assert_allclose(found[layer.name] / scale, value / scale, atol=1e-4, err_msg=layer.name)
        assert found[layer.name].shape == layer.shape
        statistics(found[layer.name][0])


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "bvlc_alexnet"])
def test_real_architectures_give_their_stored_output(name: str, small_photo: NDArray[np.uint8]) -> None:
    """Their weights are constants, so that every picture gives the output that the onnx project stored."""
    model = open_model(LIGHT / f"light_{name}.onnx")
    stored = onnx.TensorProto.FromString((LIGHT / f"light_{name}_output_0.pb").read_bytes())
    output = model.graph.outputs[0]
    found = model.run(model.tensor(small_photo), [output])[output]
    np.testing.assert_allclose(found, onnx.numpy_helper.to_array(stored), rtol=1e-3)


def test_parameters_of_converters_that_compute_their_weights() -> None:
    assert open_model(LIGHT / "light_squeezenet.onnx").graph.parameters == 640


# --- how weights may be stored ----------------------------------------------------------------------------------------


def test_external_data(tmp_path: Path, small_photo: NDArray[np.uint8]) -> None:
    proto = BUILDERS["pytorch_1"]()
    onnx.save(proto, tmp_path / "one.onnx")
    onnx.save(proto, tmp_path / "two.onnx", save_as_external_data=True, location="two.data", size_threshold=0)
    (tmp_path / "sub").mkdir()
    onnx.save(proto, tmp_path / "three.onnx", save_as_external_data=True, location="sub/w.bin", size_threshold=0)
    assert (tmp_path / "two.data").stat().st_size > 1000
    values = [open_model(tmp_path / f"{n}.onnx").activations(small_photo) for n in ("one", "two", "three")]
    for name, value in values[0].items():
        for other in values[1:]:
            np.testing.assert_array_equal(value, other[name])


def float_data(proto: onnx.ModelProto) -> None:
    for tensor in proto.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            tensor.ClearField("raw_data")
            tensor.float_data.extend(array.ravel().tolist())


def test_weights_as_float_data(make_model: MakeModel, small_photo: NDArray[np.uint8]) -> None:
    proto = BUILDERS["caffe"]()
    expected = open_model(make_model(proto)).activations(small_photo)
    float_data(proto)
    model = open_model(make_model(proto, name="floats.onnx"))
    for name, value in model.activations(small_photo).items():
        np.testing.assert_array_equal(value, expected[name])
    for tensor in proto.graph.initializer:
        np.testing.assert_array_equal(model.graph.weight(tensor.name), onnx.numpy_helper.to_array(tensor))


def test_weights_as_constant_nodes(make_model: MakeModel, small_photo: NDArray[np.uint8]) -> None:
    proto = BUILDERS["pytorch_names_lost"]()
    expected = open_model(make_model(proto)).activations(small_photo)
    for tensor in reversed(list(proto.graph.initializer)):
        node = onnx.helper.make_node("Constant", [], [tensor.name], value=tensor)
        proto.graph.node.insert(0, node)
    del proto.graph.initializer[:]
    found = open_model(make_model(proto, name="constants.onnx")).activations(small_photo)
    assert list(found) == list(expected)
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name])


def test_no_value_info_and_symbols_everywhere(make_model: MakeModel, small_photo: NDArray[np.uint8]) -> None:
    proto = BUILDERS["pytorch_names_lost"]()
    for value in (*proto.graph.input, *proto.graph.output):
        for i, dim in enumerate(value.type.tensor_type.shape.dim):
            dim.dim_param = f"s{i}"
    model = open_model(make_model(proto))
    assert model.input.shape == ("s0", "s1", "s2", "s3")
    assert model.input.channels == 3
    assert model.layers[0].shape == ("s0", 8, None, None)
    assert model.activations(small_photo)["conv"].shape == (1, 8, 224, 224)
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    assert open_model(make_model(proto)).activations(small_photo, ["conv"])["conv"].shape == (1, 8, 224, 224)


def test_wrong_declared_shapes_are_not_believed(make_model: MakeModel, small_photo: NDArray[np.uint8]) -> None:
    proto = BUILDERS["caffe"]()
    proto.graph.value_info.append(onnx.helper.make_tensor_value_info("pool1_Y", 1, [1, 8, 99, 99]))
    assert open_model(make_model(proto)).activations(small_photo, ["pool1"])["pool1"].shape == (1, 8, 8, 8)


# --- torch's two exporters --------------------------------------------------------------------------------------------


def torch_net(torch: Any) -> Any:
    nn = torch.nn

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
            self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
            self.act = nn.SiLU()

        def forward(self, x: Any) -> Any:
            return self.act(x + self.bn2(self.conv2(self.act(self.bn1(self.conv1(x))))))

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
            self.blocks = nn.Sequential(Block(), Block())
            self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 5)

        def forward(self, x: Any) -> Any:
            return self.fc(torch.flatten(self.pool(self.blocks(self.stem(x))), 1))

    torch.manual_seed(0)
    return Net().eval()


TORCH_NAMES = """stem.0 stem.2 blocks.0.conv1 blocks.0.act blocks.0.conv2 blocks.0.add blocks.0.act_1 blocks.1.conv1
    blocks.1.act blocks.1.conv2 blocks.1.add blocks.1.act_1 pool fc"""


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_both_exporters_of_torch(torch: Any, dynamo: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    net, path = torch_net(torch), tmp_path / "net.onnx"
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    if dynamo:
        require("onnxscript")
        shapes = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(net, (x,), path, dynamo=True, dynamic_shapes=shapes, external_data=False, verbose=False)
    else:
        axes = {"input": {0: "batch", 2: "h", 3: "w"}}
        torch.onnx.export(net, (x,), path, dynamo=False, input_names=["input"], dynamic_axes=axes, opset_version=13)
    model = open_model(path)
    assert [x.name for x in model.layers] == TORCH_NAMES.split()
    seen: dict[str, Any] = {}
    for name, module in net.named_modules():
        module.register_forward_hook(lambda m, i, o, name=name: seen.setdefault(name, []).append(o.detach().numpy()))
    with torch.no_grad():
        logits = net(x).numpy()
    values, scores = model.layer_values(x.numpy(), scores=True)
    np.testing.assert_allclose(scores, logits, atol=1e-5)
    for name in ("stem.2", "blocks.0.act", "blocks.1.act"):
        np.testing.assert_allclose(values[name], seen[name][0], atol=1e-5)
    np.testing.assert_allclose(values["blocks.1.act_1"], seen["blocks.1.act"][1], atol=1e-5)
    np.testing.assert_allclose(values["blocks.0.conv1"], seen["blocks.0.bn1"][0], atol=1e-5)  # the norm is folded
    np.testing.assert_allclose(values["pool"].reshape(2, 8), seen["pool"][0].reshape(2, 8), atol=1e-5)
