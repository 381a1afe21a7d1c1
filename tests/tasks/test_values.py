"""What is provable of values holds for random pictures and networks; probabilities are never made twice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from inspector import open_model
from inspector.errors import NotComputable
from inspector.model import drop_false_classes
from inspector.tasks.intervals import ROUNDING
from inspector.tasks.values import find_values
from tests.conftest import MakeModel
from tests.foreign import FLOAT, Net

ARRAY = np.random.default_rng(3).integers(0, 256, (8, 8, 3), np.uint8)
K = 6
Build = Callable[[Net, str], str]


def scores(n: Net, x: str, classes: int = K) -> str:
    y = n("GlobalAveragePool", n("Relu", n.conv(x, 3, 8)))
    return n("Mul", n("Gemm", n("Flatten", y), n.weight((classes, 8)), transB=1), n.const(np.float32(6)), out="scores")


def softmax(n: Net, x: str, classes: int = K) -> str:
    return n("Softmax", scores(n, x, classes), axis=1)


def axis(n: Net, *values: int) -> str:
    return n.const(np.array(values))


def clipped(n: Net, x: str) -> str:
    return n("Clip", softmax(n, x), n.const(np.float32(1e-7)), n.const(np.float32(1)))


def mean_of_two_heads(n: Net, x: str) -> str:
    y = scores(n, x)
    second = n("Softmax", n("Gemm", y, n.weight((K, K)), transB=1), axis=1)
    return n("Mul", n("Add", n("Softmax", y, axis=1), second), n.const(np.float32(0.5)))


def mean_operator(n: Net, x: str) -> str:
    return n("Mean", softmax(n, x), n("Softmax", n("Neg", "scores"), axis=1))


def without_background(n: Net, x: str) -> str:
    return n("Slice", softmax(n, x), axis(n, 1), axis(n, K), axis(n, 1))


def transposed(n: Net, x: str) -> str:
    y = n("Transpose", softmax(n, x), perm=[1, 0])
    return n("Transpose", y, perm=[1, 0])


def gathered(n: Net, x: str) -> str:
    return n("Gather", softmax(n, x), axis(n, *reversed(range(K))), axis=1)


def two_from_one(n: Net, x: str) -> str:
    p = n("Sigmoid", scores(n, x, 1))
    return n("Concat", p, n("Sub", n.const(np.float32(1)), p), axis=1)


def sigmoid_written_out(n: Net, x: str) -> str:
    e = n("Exp", n("Neg", scores(n, x)))
    return n("Div", n.const(np.float32(1)), n("Add", n.const(np.float32(1)), e))


def sigmoid_by_reciprocal(n: Net, x: str) -> str:
    return n("Reciprocal", n("Add", n("Exp", n("Neg", scores(n, x))), n.const(np.float32(1))))


def sigmoid_by_tanh(n: Net, x: str) -> str:
    half = n.const(np.float32(0.5))
    return n("Add", n("Mul", n("Tanh", n("Mul", scores(n, x), half)), half), half)


def softmax_clipped_and_scaled(n: Net, x: str) -> str:
    p = n("Clip", softmax(n, x), n.const(np.float32(0)), n.const(np.float32(1)))
    return n("Div", p, n.const(np.float32(1)))


def grid_of_integers(n: Net, x: str) -> str:
    scale, zero = n.const(np.float32(1 / 256)), n.const(np.array(0, np.uint8))
    q = n("QuantizeLinear", n("HardSigmoid", scores(n, x)), scale, zero)
    return n("DequantizeLinear", q, scale, zero)


def hard_sigmoid(n: Net, x: str) -> str:
    return n("HardSigmoid", scores(n, x))


SHARES: tuple[Build, ...] = (
    clipped, mean_of_two_heads, mean_operator, without_background, transposed, gathered, two_from_one,
    sigmoid_written_out, sigmoid_by_reciprocal, sigmoid_by_tanh, softmax_clipped_and_scaled, grid_of_integers,
    hard_sigmoid,
)  # fmt: skip


@pytest.mark.parametrize("build", SHARES, ids=lambda build: build.__name__)
def test_the_probability_is_the_one_of_the_file(build: Build, make_model: MakeModel) -> None:
    model = open_model(make_model(lambda n, x: n("Identity", build(n, x), out="end"), opset=13))
    given = model.run(model.tensor(ARRAY), ["end"])["end"].reshape(-1)
    found = {p.index: p.probability for p in model.predict(ARRAY, top=99)}
    np.testing.assert_allclose([found[i] for i in range(given.size)], given, atol=1e-6)
    assert not any("softmax" in line for line in model.assumed)
    maps = model.cam(ARRAY, top=1, method="ablationcam")
    assert maps[0].target.probability == pytest.approx(max(given), abs=1e-6)


@pytest.mark.parametrize("build", SHARES, ids=lambda build: build.__name__)
def test_no_value_leaves_its_bounds(build: Build, make_model: MakeModel) -> None:
    model = open_model(make_model(lambda n, x: n("Identity", build(n, x), out="end"), opset=13))
    proven = find_values(model.graph, "end", {})
    assert proven.are_shares
    rng = np.random.default_rng(0)
    for scale in (0.01, 1, 100):
        tensor = (rng.standard_normal((1, 3, 8, 8)) * scale).astype(np.float32)
        for name in model.graph.producer_of:
            values = model.run(tensor, [name])[name].astype(np.float64)
            bounds = find_values(model.graph, name, {})
            if name == "end" or np.isfinite(values).all():
                assert values.min() >= bounds.low - ROUNDING
                assert values.max() <= bounds.high + ROUNDING
            if bounds.total is not None:
                assert values.sum() == pytest.approx(bounds.total, abs=1e-4)


def embedding_by_norm(n: Net, x: str) -> str:
    return n("LpNormalization", scores(n, x), axis=1, p=2)


def embedding_by_l2(n: Net, x: str) -> str:
    y = scores(n, x)
    return n("Div", y, n("Clip", n("ReduceL2", y, axes=[1], keepdims=1), n.const(np.float32(1e-12))))


def embedding_written_out(n: Net, x: str) -> str:
    y = scores(n, x)
    square = n("ReduceSum", n("Mul", y, y), axis(n, 1), keepdims=1)
    return n("Div", y, n("Sqrt", n("Add", square, n.const(np.float32(1e-12)))))


def embedding_by_power(n: Net, x: str) -> str:
    y = scores(n, x)
    return n("Mul", y, n("Pow", n("ReduceSumSquare", y, axes=[1], keepdims=1), n.const(np.float32(-0.5))))


def embedding_by_reciprocal(n: Net, x: str) -> str:
    y = scores(n, x)
    length = n("Unsqueeze", n("Sqrt", n("Einsum", y, y, equation="bi,bi->b")), axis(n, 1))
    return n("Mul", n("Reciprocal", length), y)


def embedding_by_a_quotient(n: Net, x: str) -> str:
    y = scores(n, x)
    length = n("Pow", n("ReduceSum", n("Pow", y, n.const(np.float32(2))), axis(n, 1)), n.const(np.float32(0.5)))
    return n("Mul", y, n("Div", n.const(np.float32(1)), n("Max", length, n.const(np.float32(1e-12)))))


BY_LENGTH = [
    embedding_by_norm, embedding_by_l2, embedding_written_out, embedding_by_power, embedding_by_reciprocal,
    embedding_by_a_quotient,
]  # fmt: skip


@pytest.mark.parametrize("build", BY_LENGTH)
def test_a_vector_of_unit_length_is_no_classifier(build: Build, make_model: MakeModel) -> None:
    model = open_model(make_model(lambda n, x: n("Identity", build(n, x), out="end"), opset=13))
    vector = model.run(model.tensor(ARRAY), ["end"])["end"]
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)
    assert model.classifier is None
    with pytest.raises(NotComputable, match="has no classification output"):
        model.predict(ARRAY)


@pytest.mark.parametrize(
    "end",
    [
        lambda n, y: n("ArgMax", y, axis=1, keepdims=0),
        lambda n, y: n("Cast", n("ArgMax", y, axis=1), to=FLOAT),
        lambda n, y: n("TopK", y, axis(n, 3), out=("values", "ranks"), axis=1),
        lambda n, y: n("Squeeze", y),
        lambda n, y: n("Unsqueeze", y, axis(n, 1)),
        lambda n, y: n("Reshape", y, axis(n, K)),
    ],
)
@pytest.mark.parametrize("probabilities", [False, True])
def test_scores_behind_ranks_and_shapes(
    end: Callable[[Net, str], str], probabilities: bool, make_model: MakeModel
) -> None:
    def build(n: Net, x: str) -> str:
        return end(n, n("Softmax", scores(n, x), axis=1) if probabilities else scores(n, x))

    model = open_model(make_model(build, opset=13))
    raw = model.run(model.tensor(ARRAY), ["scores"])["scores"].reshape(-1)
    expected = np.exp(raw) / np.exp(raw).sum()
    found = {p.index: p.probability for p in model.predict(ARRAY, top=K)}
    np.testing.assert_allclose([found[i] for i in range(K)], expected, atol=1e-6)
    assert model.classes == K


def test_a_list_of_classes(make_model: MakeModel) -> None:
    """Azure Custom Vision: the label, and a ZipMap over the probabilities."""

    def build(n: Net, x: str) -> tuple[str, ...]:
        p = n("Softmax", scores(n, x), axis=1)
        names = [b"a", b"b", b"c", b"d", b"e", b"f"]
        return (n("ZipMap", p, out="loss", domain="ai.onnx.ml", classlabels_strings=names),)

    net = Net(opset=13, ai_onnx_ml=1)
    made = build(net, net.input("x", (1, 3, 8, 8)))
    proto = net.model(*made)
    proto.graph.output[0].type.CopyFrom(
        onnx.helper.make_sequence_type_proto(
            onnx.helper.make_map_type_proto(onnx.TensorProto.STRING, onnx.helper.make_tensor_type_proto(FLOAT, None))
        )
    )
    model = open_model(make_model(proto))
    assert model.classes == K
    assert sum(p.probability for p in model.predict(ARRAY, top=K)) == pytest.approx(1)


def test_probabilities_that_cannot_be_proven_are_seen_in_a_run(make_model: MakeModel) -> None:
    """Behind a custom quotient nothing is provable; what a run gives is."""

    def build(n: Net, x: str) -> str:
        e = n("Softplus", scores(n, x))
        return n("Div", e, n("ReduceSum", e, axis(n, 1), keepdims=1), out="end")

    said: list[str] = []
    model = open_model(make_model(build, opset=13), warn=said.append)
    given = model.run(model.tensor(ARRAY), ["end"])["end"].reshape(-1)
    found = {p.index: p.probability for p in model.predict(ARRAY, top=K)}
    np.testing.assert_allclose([found[i] for i in range(K)], given, atol=1e-6)
    assert any("are probabilities already" in line for line in said)


def test_raw_scores_say_that_softmax_is_assumed(make_model: MakeModel) -> None:
    model = open_model(make_model(scores, opset=13))
    assert model.assumed[-1] == (
        f"probabilities by softmax over the {K} scores (the graph ends without one; annotate --activation says "
        "otherwise)"
    )


def test_a_run_that_gives_something_else_than_was_declared(make_model: MakeModel) -> None:
    """A recogniser of text, declared (1, n), gives (T, 1, K): its first time step is no class of the picture."""

    def build(n: Net, x: str) -> str:
        y = n("ReduceMean", n("Relu", n.conv(x, 3, 5)), axes=[2], keepdims=0)
        return n("Transpose", y, perm=[2, 0, 1], out="ctc")

    model = open_model(make_model(build, outputs={"ctc": (1, "n")}, opset=13))
    assert model.classifier is not None
    refusal = r"was declared as scores of classes, and a run has the shape \(8, 1, 5\)"
    with pytest.raises(NotComputable, match=refusal):
        model.predict(ARRAY)
    # Its layers are right all the same, and what goes on without classes does.
    values, none = model.layer_values(model.tensor(ARRAY), scores=True)
    assert none is None
    assert next(iter(values.values())).shape == (1, 5, 8, 8)
    assert drop_false_classes(model).classifier is None
    assert drop_false_classes(open_model(make_model(scores, opset=13))).classifier is not None


def test_steps_of_a_text_are_no_batch(make_model: MakeModel) -> None:
    """(T, 1, K), declared as such: of unknown length, where the picture is one. (N, 1, K) with an open batch is."""

    def build(n: Net, x: str) -> str:
        y = n("ReduceMean", n("Relu", n.conv(x, 3, 5)), axes=[2], keepdims=0)
        return n("Transpose", y, perm=[2, 0, 1], out="y")

    def head(n: Net, x: str) -> str:
        return n("ReduceMean", n.conv(x, 3, 5), axes=[2, 3], keepdims=1, out="y")

    steps = make_model(build, shape=(1, 3, 8, "w"), outputs={"y": ("t", 1, 5)}, opset=13)
    assert open_model(steps).classifier is None
    one = make_model(head, shape=("n", 3, 8, 8), outputs={"y": ("n", 5, 1, 1)}, opset=13)
    assert open_model(one).classes == 5


def test_of_a_damaged_node_nothing_is_known(make_model: MakeModel) -> None:
    """A product with an absent third factor, in front of a softmax."""

    def build(n: Net, x: str) -> str:
        y = n("Flatten", n("GlobalAveragePool", n.conv(x, 3, K)))
        return n("Mul", n("Softmax", y), n.const(np.float32(1)), "", out="y")

    model = open_model(make_model(build, outputs={"y": (1, K)}, opset=13))
    assert model.classes == K


def test_an_index_at_every_place_is_no_classifier(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        return n("ArgMax", n.conv(x, 3, 5), axis=1, keepdims=0, out="mask")

    assert open_model(make_model(build, opset=13)).classifier is None
