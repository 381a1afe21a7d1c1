"""Which nodes are layers, how they are named, and how a name finds one."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from inspector import open_model
from inspector.errors import LayerNotFound
from inspector.graph import read_graph
from inspector.layers import Layer, find_layer, find_layers, layout_of
from inspector.metadata import LayerEntry
from tests.conftest import MakeModel
from tests.foreign import Net


def layer(name: str, *aliases: str) -> Layer:
    return Layer(name, f"t:{name}", "conv", (1, 2, 3, 4), False, aliases=aliases)


LAYERS = [
    layer("features.0.conv", "stem"),
    layer("features.1.conv"),
    layer("features.1.Relu", "block1_relu"),
    layer("features.10.conv"),
    layer("conv"),
    layer("classifier"),
]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("features.1.conv", "features.1.conv"),  # the whole name
        ("conv", "conv"),  # the whole name comes before endings
        ("stem", "features.0.conv"),  # an alias
        ("1.conv", "features.1.conv"),  # an ending of whole parts comes before one of letters
        ("10.conv", "features.10.conv"),
        ("Relu", "features.1.Relu"),
        ("relu", "features.1.Relu"),  # any case
        ("CLASSIFIER", "classifier"),
        ("features.10", "features.10.conv"),  # a part
        ("ssif", "classifier"),
        ("  classifier\n", "classifier"),
    ],
)
def test_found(given: str, found: str) -> None:
    assert find_layer(LAYERS, given).name == found


def test_several() -> None:
    with pytest.raises(LayerNotFound) as caught:
        find_layer(LAYERS[:4], "conv")
    assert str(caught.value) == (
        "3 layers go by 'conv': features.0.conv, features.1.conv, features.10.conv; give more of the name"
    )


def test_unknown() -> None:
    with pytest.raises(LayerNotFound) as caught:
        find_layer(LAYERS, "clasifer")
    message = str(caught.value)
    assert message.startswith("there is no layer 'clasifer'; nearest: classifier, ")
    assert len(re.split(", ", caught.value.message)) == 3
    assert message.endswith("see `inspector layers MODEL`")
    for odd in ("", "\x00", "x" * 100_000, "(", "*"):
        with pytest.raises(LayerNotFound):
            find_layer(LAYERS, odd)
    with pytest.raises(LayerNotFound, match="this model has no layers"):
        find_layer([], "conv")


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((1, 3, 224, 224), "NCHW"),
        ((None, 224, 224, 3), "NHWC"),
        (("n", "h", "w", 1), "NHWC"),
        ((1, 3, 5, 3), "NCHW"),
        ((1, None, None, None), "NCHW"),
        (None, "NCHW"),
        ((1, 3), "NCHW"),
    ],
)
def test_layout(shape: Any, layout: str) -> None:
    assert layout_of(shape) == layout


def kinds(path: Any) -> str:
    return " ".join(f"{x.kind}={x.tensor}" for x in open_model(path).layers)


def test_norm_and_bias_belong_to_their_convolution(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        x = n.conv(x, 3, 4, bias=False)
        x = n("Add", x, n.const(np.ones((1, 4, 1, 1))), out="biased")
        x = n.bn(x, 4, out="normed")
        x = n("Mul", x, n.const(np.ones((4, 1, 1))), out="scaled")
        return n("Relu", x, out="r")

    assert kinds(make_model(build)) == "conv=scaled activation=r"


def test_a_norm_of_its_own_takes_its_scale(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        x = n("Relu", n.conv(x, 3, 4), out="r")
        x = n("Mul", n.bn(x, 4), n.const(np.ones((1, 4, 1, 1))), out="m")
        return n("Add", n.const(np.ones((1, 4, 1, 1))), x, out="norm")

    assert kinds(make_model(build)).endswith("activation=r norm=norm")


def test_what_others_read_is_not_folded(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> tuple[str, ...]:
        c = n.conv(x, 3, 4, out="c")
        return n("Add", n.bn(c, 4, out="b"), c, out="sum"), c

    assert kinds(make_model(build)) == "conv=c norm=b add=sum"


def test_a_scalar_is_arithmetic_and_no_bias(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        return n("Relu", n("Add", n.conv(x, 3, 4, out="c"), n.const(np.float32(1))), out="r")

    assert kinds(make_model(build)) == "conv=c activation=r"


@pytest.mark.parametrize("twice", [False, True])
def test_activations_written_out(make_model: MakeModel, twice: bool) -> None:
    """One layer with the tensor at the end; what is inside is hidden unless someone else reads it."""

    def build(n: Net, x: str) -> tuple[str, ...]:
        c = n.conv(x, 3, 4, out="c")
        s = n("Sigmoid", c, out="s")
        m = n("Mul", s, c, out="m")
        return (n("Relu", m, out="r"), n("Neg", s)) if twice else (n("Relu", m, out="r"),)

    path = make_model(build)
    assert kinds(path) == f"conv=c {'activation=s ' if twice else ''}activation=m activation=r"


def test_words_for_activations_written_out(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        x = n.conv(x, 3, 4, out="1")
        x = n("Mul", x, n("Sigmoid", x, out="2"), out="3")
        x = n("Mul", x, n("Tanh", n("Softplus", x, out="4"), out="5"), out="6")
        erf = n("Add", n("Erf", x, out="7"), n.const(np.float32(1), "8"), out="9")
        return n("Mul", n("Mul", x, erf, out="10"), n.const(np.float32(0.5), "11"), out="12")

    assert [x.name for x in open_model(make_model(build)).layers] == ["conv", "silu", "mish", "gelu"]


def test_prelu_of_keras(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        c = n.conv(x, 3, 4, out="c")
        negative = n("Mul", n.const(np.full((4, 1, 1), -0.2)), n("Relu", n("Neg", c)))
        return n("Add", n("Relu", c), negative, out="prelu")

    assert kinds(make_model(build)) == "conv=c activation=prelu"


def test_residuals_are_adds(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        a = n("Relu", n.conv(x, 3, 4, out="c"), out="a")
        b = n("Add", n.conv(a, 4, 4, out="d"), a, out="plus")  # of a convolution
        c = n("Sum", b, n("Relu", b, out="e"), out="sum")  # of an activation of itself
        d = n("Add", c, n("Tanh", c, out="t"), out="same")
        return n("Relu", d, out="r")

    assert kinds(make_model(build)) == (
        "conv=c activation=a conv=d add=plus activation=e add=sum activation=t add=same activation=r"
    )


def test_shape_arithmetic_is_no_layer(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        c = n.conv(x, 3, 4, out="c")
        shape = n("Shape", c)
        height, width = (n("Gather", shape, n.const(np.int64([i])), axis=0) for i in (2, 3))
        area = n("Mul", height, width)
        where = n("Concat", n.const(np.int64([0])), n.const(np.int64([4])), area, axis=0)
        flat = n("Reshape", c, where, out="flat")
        size = n("Cast", n("Mul", area, n.const(np.int64([2]))), to=1)
        return n("Relu", n("Div", flat, n("Sigmoid", size)), out="r")

    assert kinds(make_model(build)) == "conv=c activation=r"


def test_concat_and_gate_and_resize(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        a, b = n.conv(x, 3, 4, out="a"), n.conv(x, 3, 4, out="b")
        c = n("Concat", a, b, out="cat", axis=1)
        c = n("Concat", c, out="alone", axis=1)
        g = n("Sigmoid", n.conv(c, 8, 8, 1, out="fc"), out="g")
        c = n("Mul", c, g, out="gate")
        return n("Resize", c, "", n.const(np.float32([1, 1, 2, 2])), out="up")

    assert kinds(make_model(build)) == "conv=a conv=b concat=cat conv=fc activation=g gate=gate resize=up"


def test_names_are_made_unique_and_fit_to_show(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        for name in ("same", "same", "same_1", "x\x1b[31m\n\u202e", "y" * 500, "../../etc", ""):
            x = n.conv(x, 3, 3, name=name)
        return x

    names = [x.name for x in open_model(make_model(build)).layers]
    assert len(set(names)) == 7
    assert names[:3] == ["same", "same.conv", "same_1"]
    assert all(name.isprintable() and 0 < len(name) <= 200 for name in names)


def test_names_are_stable_when_outputs_are_added(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> tuple[str, ...]:
        c = n.conv(x, 3, 4, name="/a/conv/Conv")
        return n("Relu", c, name="/a/act/Relu"), c

    def fewer(n: Net, x: str) -> str:
        return build(n, x)[0]

    with_outputs, without = open_model(make_model(build)), open_model(make_model(fewer, name="b.onnx"))
    assert [x.name for x in with_outputs.layers] == [x.name for x in without.layers] == ["a.conv", "a.act"]
    assert [x.exposed for x in with_outputs.layers] == [True, True]
    assert [x.exposed for x in without.layers] == [False, True]


def test_entries_of_the_metadata_come_first(make_model: MakeModel) -> None:
    path = make_model(lambda n, x: n("Relu", n.conv(x, 3, 4, out="c"), out="r"))
    graph = read_graph(path)
    entries = [LayerEntry("mine", "r", "activation", ("relu",)), LayerEntry("first", "c", "conv"),
               LayerEntry("gone", "nowhere", "conv")]  # fmt: skip
    found = find_layers(graph, entries)
    assert [(x.name, x.tensor, x.shape, x.exposed) for x in found] == [
        ("first", "c", (1, 4, 8, 8), False),
        ("mine", "r", (1, 4, 8, 8), True),
    ]
    assert find_layer(found, "relu").name == "mine"
    assert [x.name for x in find_layers(graph, entries[2:])] == [x.name for x in find_layers(graph)]


def test_channels_last_all_the_way(make_model: MakeModel) -> None:
    """A graph of NHWC that turns for the convolution and back: every layer is given channels first."""

    def build(n: Net, x: str) -> str:
        y = n("Transpose", x, perm=[0, 3, 1, 2])
        y = n("Transpose", n.conv(y, 3, 6), perm=[0, 2, 3, 1])
        y = n("Relu", y, out="relu")
        y = n("MatMul", y, n.weight((6, 5)), out="pointwise")
        return n("LeakyRelu", y, out="leaky")

    model = open_model(make_model(build, shape=(1, 8, 10, 3)))
    assert [(x.kind, x.shape) for x in model.layers] == [
        ("conv", (1, 6, 8, 10)),
        ("activation", (1, 6, 8, 10)),
        ("linear", (1, 5, 8, 10)),
        ("activation", (1, 5, 8, 10)),
    ]
    values = model.activations(np.zeros((8, 10, 3), np.uint8))
    assert [v.shape for v in values.values()] == [x.shape for x in model.layers]
    raw = model.run(model.tensor(np.zeros((8, 10, 3), np.uint8)), ["pointwise"])["pointwise"]
    np.testing.assert_array_equal(values[model.layers[2].name], raw.transpose(0, 3, 1, 2))


def test_scopes_of_the_dynamo_exporter_are_read_safely(make_model: MakeModel) -> None:
    for value in ("['', 'features', 'features.0', 'conv2d']", "[", "'\\d'", "[" * 5000, "['a'] * 10**9", "x" * 20_000):

        def build(n: Net, x: str) -> str:
            y = n.conv(x, 3, 4, name="node_conv2d")
            entry = n.nodes[-1].metadata_props.add()
            entry.key, entry.value = "pkg.torch.onnx.name_scopes", value  # noqa: B023
            return y

        names = [x.name for x in open_model(make_model(build)).layers]
        assert names == ["features.0"] if value.startswith("['', ") else len(names) == 1


def test_a_thousand_layers_take_no_time(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        w = n.weight((3, 3, 1, 1))
        for i in range(1000):
            x = n("Relu", n("Conv", x, w, name=f"/b.{i}/conv/Conv"), name=f"/b.{i}/act/Relu")
        return x

    import time

    path = make_model(build)
    start = time.process_time()
    layers = open_model(path).layers
    assert len(layers) == 2000
    find_layer(layers, "b.999.act")
    with pytest.raises(LayerNotFound):
        find_layer(layers, "b.1000.act")
    assert time.process_time() - start < 3


def test_operators_of_other_domains(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        n.domains["com.microsoft"] = 1
        x = n("FusedConv", x, n.weight((4, 3, 3, 3)), domain="com.microsoft", activation="Relu", out="f")
        return n("QuickGelu", x, domain="com.microsoft", out="q")

    assert kinds(make_model(build)) == "conv=f activation=q"


@pytest.mark.parametrize("divided", [False, True])
def test_activations_written_with_operators_of_any_kind(divided: bool, make_model: MakeModel) -> None:
    """x / (1 + |x|), and x * (x > 0): every operator that the table calls elementwise may stand in one."""

    def build(n: Net, x: str) -> str:
        c = n.conv(x, 3, 4, out="c")
        if divided:
            return n("Div", c, n("Add", n("Abs", c), n.const(np.float32(1))), out="y")
        return n("Mul", n("Cast", n("Greater", c, n.const(np.float32(0))), to=1), c, out="y")

    assert kinds(make_model(build)) == "conv=c activation=y"


def test_a_silu_of_integers(make_model: MakeModel) -> None:
    """Also where its product and sigmoid have scales among their inputs."""

    def build(n: Net, x: str) -> str:
        scale, zero = n.const(np.float32(0.05)), n.const(np.uint8(128))
        q = n("QuantizeLinear", n.conv(x, 3, 4, out="c"), scale, zero)
        s = n("QLinearSigmoid", q, scale, zero, scale, zero, domain="com.microsoft")
        m = n("QLinearMul", q, scale, zero, s, scale, zero, scale, zero, domain="com.microsoft", out="m")
        return n("DequantizeLinear", m, scale, zero, out="y")

    assert kinds(make_model(build, com_microsoft=1)) == "conv=c activation=m"


@pytest.mark.parametrize("op", ["MatMul", "Gemm"])
def test_a_product_of_two_tensors_is_no_linear_layer(op: str, make_model: MakeModel) -> None:
    """As that of queries and keys; its weights would be the picture's own."""

    def build(n: Net, x: str) -> str:
        rows = n("Flatten", n.conv(x, 3, 4, out="c"), axis=2)
        return n(op, rows, n("Transpose", rows, perm=[1, 0]), out="y")

    assert kinds(make_model(build)) == "conv=c"


def test_positions_are_no_maps(make_model: MakeModel) -> None:
    """What ArgMax, TopK and NonZero tell depends on the picture, and nobody would look at it as a layer."""

    def build(n: Net, x: str) -> tuple[str, ...]:
        c = n.conv(x, 3, 4, out="c")
        a, b = n("ArgMax", c, axis=1, out="a"), n("ArgMin", c, axis=1, out="b")
        best = n("TopK", c, n.const(np.array([2])), axis=1, out=["best", "at"])
        return n("Concat", a, b, axis=1, out="places"), n("Softmax", best, axis=1, out="s")

    model = make_model(build)
    proto = onnx.load(model)
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    onnx.save(proto, model)
    assert kinds(model) == "conv=c softmax=s"


@pytest.mark.parametrize("last", [False, True])
def test_the_picture_that_a_network_gives_is_a_layer(last: bool, make_model: MakeModel) -> None:
    """Super-resolution: what comes out is made by an operator that makes no layer elsewhere."""

    def build(n: Net, x: str) -> str:
        y = n("Relu", n.conv(x, 3, 12), out="r")
        y = n("Mul", n("DepthToSpace", y, blocksize=2), n.const(255.0), out="" if last else "big")
        return n("Transpose", y, perm=[0, 2, 3, 1], out="big") if last else y

    path = make_model(build, shape=(1, 3, 8, 10))
    model = open_model(path)
    layer = model.layers[-1]
    assert (layer.tensor, layer.kind, layer.exposed) == ("big", "picture", True)
    assert layer.shape == (1, 3, 16, 20)
    picture = np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8)
    [expected] = onnxruntime.InferenceSession(path).run(["big"], {"x": model.tensor(picture)})
    expected = expected.transpose(0, 3, 1, 2) if last else expected
    np.testing.assert_allclose(model.activations(picture, layer.name)[layer.name], expected, rtol=1e-5, atol=1e-4)
