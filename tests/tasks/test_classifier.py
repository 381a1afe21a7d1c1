"""Which output is the classification, and that probabilities are those of the graph itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from inspector import Metadata, open_model
from inspector.errors import NotComputable, UsageError
from inspector.image import Preprocess
from inspector.metadata import KEY
from inspector.model.annotate import annotate_model
from inspector.runtime.sessions import Session
from tests.conftest import MakeModel
from tests.foreign import FLOAT16, Net
from tests.foreign.compared import run_alone

ARRAY = np.random.default_rng(3).integers(0, 256, (8, 8, 3), np.uint8)
K = 6


def scores(n: Net, x: str, classes: int = K) -> str:
    y = n("GlobalAveragePool", n("Relu", n.conv(x, 3, 8, out="c"), out="r"), out="g")
    return n("Gemm", n("Flatten", y), n.weight((classes, 8)), transB=1, out="scores")


def written(n: Net, x: str) -> str:
    y = scores(n, x)
    e = n("Exp", n("Sub", y, n("ReduceMax", y, axes=[1], keepdims=1)))
    return n("Div", e, n("ReduceSum", e, n.const(np.array([1])), keepdims=1), out="p")


def written_bare(n: Net, x: str) -> str:
    e = n("Exp", scores(n, x))
    return n("Div", e, n("ReduceSum", e, n.const(np.array([1])), keepdims=1), out="p")


def exp_of_log(n: Net, x: str) -> str:
    return n("Exp", n("LogSoftmax", scores(n, x), axis=1), out="p")


def rounded(n: Net, x: str, step: float, kind: type = np.uint8, out: str = "") -> str:
    scale, zero = n.const(np.float32(step)), n.const(np.array(128 if step > 0.01 else 0, kind))
    return n("DequantizeLinear", n("QuantizeLinear", x, scale, zero), scale, zero, out=out)


def between_quantisers(n: Net, x: str) -> str:
    return rounded(n, n("Softmax", scores(n, x), axis=1), 1 / 255, out="p")


def all_between_quantisers(n: Net, x: str) -> str:
    """The scores too, as quantizers leave them: onnxruntime makes one table of the softmax."""
    return rounded(n, n("Softmax", rounded(n, scores(n, x), 0.02), axis=1), 1 / 256, out="p")


def half_inside(n: Net, x: str) -> str:
    """As converters to half precision leave it that keep the types of inputs and outputs."""
    return n("Cast", n("Softmax", n("Cast", scores(n, x), to=FLOAT16), axis=1), to=1, out="p")


def sigmoids(n: Net, x: str) -> str:
    return rounded(n, n("Sigmoid", scores(n, x)), 1 / 255, out="p")


def scores_beside(n: Net, x: str) -> tuple[str, str]:
    """The scores are the last output, and what the file gives is rounded to 1/50."""
    y = scores(n, x)
    return rounded(n, n("Softmax", y, axis=1), 0.009, out="p"), y


def between_contributed_quantisers(n: Net, x: str) -> str:
    """The same operators as onnxruntime's own set has them, which its quantizer writes for 16 bits."""
    p = n("Softmax", scores(n, x), axis=1)
    scale, zero = n.const(np.float32(1 / 65535)), n.const(np.array(0, np.uint16))
    q = n("QuantizeLinear", p, scale, zero, domain="com.microsoft")
    return n("DequantizeLinear", q, scale, zero, domain="com.microsoft", out="p")


def in_groups(n: Net, x: str) -> str:
    y = n("Reshape", scores(n, x), n.const(np.array([-1, 2, 3])))
    return n("Flatten", n("Softmax", y, axis=2), out="p")


def channels_last(n: Net, x: str) -> str:
    y = n("Reshape", scores(n, x), n.const(np.array([-1, 1, 1, K])))
    return n("Reshape", n("Softmax", y, axis=-1), n.const(np.array([-1, K])), out="p")


@pytest.mark.parametrize(
    ("build", "stepped"),
    [
        (written, True),
        (written_bare, True),
        (exp_of_log, True),
        (between_quantisers, True),
        (between_contributed_quantisers, True),
        (all_between_quantisers, True),
        (half_inside, True),
        (sigmoids, True),
        (scores_beside, True),
        (in_groups, False),
        (channels_last, True),
    ],
)
def test_probabilities_are_those_of_the_graph(
    build: Callable[[Net, str], str], stepped: bool, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_model(build, opset=13, com_microsoft=1)
    model = open_model(path)
    assert model.classifier is not None
    assert (model.classifier.scores != "p") is stepped
    assert model.classifier.activation == ("none" if not stepped else "sigmoid" if build is sigmoids else "softmax")
    runs = []
    monkeypatch.setattr(Session, "run", lambda self, feeds, real=Session.run: runs.append(1) or real(self, feeds))
    for seed in range(4):
        picture = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8) // (seed + 1)
        tensor = model.tensor(picture)
        [given] = run_alone(onnx.load(path), path.parent, {"x": tensor}, ["p"])
        told = model.predict(picture, top=K)
        found = {p.index: p.probability for p in told}
        np.testing.assert_allclose([found[i] for i in range(K)], given[0].astype(np.float64), atol=1e-6)
        # Where the file rounds two classes to one probability, the score says which is the first.
        assert [p.index for p in told] == sorted(range(K), key=lambda i: (-given[0, i], -model.scores(tensor)[0, i]))
    assert len(runs) == 4 + 4 * K  # of which `model.scores` made the most


@pytest.mark.parametrize("ending", ["Sigmoid", "Softmax"])
def test_named_scores_have_the_activation_that_the_file_gives_beside_them(ending: str, make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> tuple[str, str]:
        y = scores(n, x)
        return y, n(ending, y, out="p")

    path = make_model(build, opset=13, metadata={KEY: Metadata(output="scores").dumps()})
    model = open_model(path)
    [given] = run_alone(onnx.load(path), path.parent, {"x": model.tensor(ARRAY)}, ["p"])
    found = {p.index: p.probability for p in model.predict(ARRAY, top=K)}
    np.testing.assert_allclose([found[i] for i in range(K)], given[0], atol=1e-6)
    assert model.classifier is not None
    assert (model.classifier.activation, model.classifier.guessed) == (ending.lower(), False)


@pytest.mark.parametrize("ended", [True, False])
def test_one_score_for_each_picture_of_a_batch(ended: bool, make_model: MakeModel) -> None:
    """(4,) of a graph that takes four pictures is no vector of four classes."""

    def build(n: Net, x: str) -> str:
        y = scores(n, x, 1)
        return n("Squeeze", n("Sigmoid", y) if ended else y, n.const(np.array([1])), out="p")

    path = make_model(build, opset=13, shape=(4, 3, 8, 8), outputs={"p": (4,)})
    model = open_model(path)
    assert model.classifier is not None
    assert (model.classes, model.classifier.scores) == (1, "scores")
    pictures = [np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8) for seed in range(6)]
    tensor = np.concatenate([model.tensor(picture) for picture in pictures])
    [first], [second] = (run_alone(onnx.load(path), path.parent, {"x": x}, ["p"]) for x in (tensor[:4], tensor[2:]))
    given = np.concatenate([first, second[2:]]).astype(np.float64)
    given = given if ended else 1 / (1 + np.exp(-given))
    np.testing.assert_allclose(model.probabilities(model.run_classes(tensor))[:, 0], given, atol=1e-6)
    for picture, share in zip(pictures, given, strict=True):
        told = {p.index: p.probability for p in model.predict(picture)}
        assert told == {0: pytest.approx(1 - share, abs=1e-6), 1: pytest.approx(share, abs=1e-6)}
    [found] = model.cam(pictures[0], classes=[1])
    assert found.target.probability == pytest.approx(given[0], abs=1e-6)


def test_an_output_with_a_softmax_is_before_a_later_one(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> tuple[str, ...]:
        y = scores(n, x)
        return n("Softmax", y, axis=1, out="p"), n("Gemm", y, n.weight((4, K)), transB=1, out="box")

    model = open_model(make_model(build))
    assert model.classifier is not None
    assert model.classifier.scores == "scores"
    assert any("the classes are output 'p' (not box)" in line for line in model.assumed)


def test_labels_decide_between_outputs(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> tuple[str, ...]:
        y = scores(n, x)
        return y, n("Gemm", y, n.weight((9, K)), transB=1, out="embedding")

    document = Metadata(labels=tuple("abcdef"))
    model = open_model(make_model(build, metadata={KEY: document.dumps()}))
    assert model.classifier is not None
    assert model.classifier.scores == "scores"
    assert model.predict(ARRAY)[0].label in "abcdef"


def test_a_range_does_not_hide_the_shapes(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        y = scores(n, x)
        count = n("Range", n.const(np.array(0)), n.const(np.array(K)), n.const(np.array(1)))
        return n("Add", y, n("Mul", n("Cast", count, to=1), n.const(np.float32(0))), out="sum")

    model = open_model(make_model(build, outputs={"sum": ("N", K)}))
    assert model.classes == K
    assert next(layer for layer in model.layers if layer.name == "c").shape == (1, 8, 8, 8)


def test_the_graph_decides_the_type_of_its_input(make_model: MakeModel, tmp_path: Path) -> None:
    kept = Preprocess.named("caffe", (8, 8))
    half = make_model(
        lambda n, x: n("Flatten", n("GlobalAveragePool", n("Relu", x, out="r")), out="y"),
        dtype=FLOAT16,
        metadata={KEY: Metadata(preprocess=kept).dumps()},
    )
    model = open_model(half)
    assert model.preprocess.dtype == "float16"
    assert model.preprocess.mean == kept.mean
    assert all(values.dtype == np.float32 for values in model.activations(ARRAY).values())


def test_a_quantised_file_names_layers_after_their_weights(tmp_path: Path, make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        scale, zero = n.const(np.float32(0.02), "x_scale"), n.const(np.array(128, np.uint8), "x_zero_point")
        q = n("QuantizeLinear", x, scale, zero)
        w = n.const(np.ones((4, 3, 3, 3), np.int8), "stem.weight_quantized")
        ws, wz = n.const(np.float32(0.01), "stem.weight_scale"), n.const(np.array(0, np.int8), "stem.weight_zero_point")
        y = n("QLinearConv", q, scale, zero, w, ws, wz, scale, zero)
        return n("DequantizeLinear", y, scale, zero, out="y")

    model = onnx.load(make_model(build))
    for node in model.graph.node:
        node.name = ""
    path = tmp_path / "q.onnx"
    onnx.save(model, path)
    names = [layer.name for layer in open_model(path).layers]
    assert "stem" in names
    assert not any("zero_point" in name for name in names)


def test_asking_for_every_layer_in_turn_keeps_few_sessions(make_model: MakeModel) -> None:
    from inspector.runtime import KEPT_SESSIONS

    def build(n: Net, x: str) -> str:
        for i in range(KEPT_SESSIONS + 5):
            x = n("Relu", n.conv(x, 3, 3), out=f"r{i}")
        return x

    model = open_model(make_model(build))
    start = model.layers[0]
    first = model.activations(ARRAY, [start])[start.name]
    for layer in model.layers:
        model.activations(ARRAY, [layer])
    assert len(model.sessions._kept) == len(model.sessions._judged) == KEPT_SESSIONS
    np.testing.assert_array_equal(model.activations(ARRAY, [start])[start.name], first)


def test_annotate_keeps_the_choice_and_takes_another_activation(make_model: MakeModel, tmp_path: Path) -> None:
    def build(n: Net, x: str) -> tuple[str, ...]:
        y = scores(n, x)
        return n("Softmax", y, axis=1, out="p"), n("Gemm", y, n.weight((4, K)), transB=1, out="box")

    before = open_model(make_model(build))
    after = annotate_model(before, tmp_path / "a.onnx")
    assert after.classifier == before.classifier
    assert after.assumed == ()
    plain = make_model(lambda n, x: scores(n, x), name="plain.onnx")
    many = annotate_model(plain, tmp_path / "b.onnx", activation="sigmoid")
    found = {p.index: p for p in many.predict(ARRAY, top=K)}
    for p in found.values():
        assert p.probability == pytest.approx(1 / (1 + np.exp(-p.score)), rel=1e-5)
    with pytest.raises(UsageError, match="there is no activation 'tanh'"):
        annotate_model(plain, tmp_path / "c.onnx", activation="tanh")
    assert not (tmp_path / "c.onnx").exists()


# --- several outputs, none of them classes -------------------------------------------------------------


def boxes_of_a_vector(n: Net, x: str) -> str:
    return n("Reshape", scores(n, x, 8), n.const(np.array([-1, 2, 4])), out="boxes")


def objectness_and_boxes(n: Net, x: str) -> tuple[str, ...]:
    """As YuNet's outputs are, with other names: on a grid of 8 x 8 and on one of 1 x 1."""
    outputs = []
    for stride in (1, 8):
        y = n("Relu", n.conv(x, 3, 8, stride=stride))
        for part, width in (("there", 1), ("box", 4)):
            z = n("Transpose", n.conv(y, 8, width, 1), perm=[0, 2, 3, 1])
            z = n("Reshape", z, n.const(np.array([1, -1, width])))
            outputs.append(
                n("Sigmoid", z, out=f"{part}{stride}") if width == 1 else n("Relu", z, out=f"{part}{stride}")
            )
    return tuple(outputs)


@pytest.mark.parametrize("build", [boxes_of_a_vector, objectness_and_boxes])
def test_rows_of_a_detector_are_no_classes(
    build: Callable[[Net, str], str | tuple[str, ...]], make_model: MakeModel
) -> None:
    model = open_model(make_model(build, shape=(1, 3, 8, 8)))
    assert model.task != "classify"
    with pytest.raises(NotComputable):
        model.predict(ARRAY)


def test_classes_beside_boxes_are_said(make_model: MakeModel) -> None:
    def both(n: Net, x: str) -> tuple[str, str]:
        y = n("Flatten", n("GlobalAveragePool", n.conv(x, 3, 8)))
        boxes = n("Reshape", n("Gemm", y, n.weight((8, 8)), transB=1), n.const(np.array([-1, 2, 4])), out="boxes")
        return n("Softmax", n("Gemm", y, n.weight((K, 8)), transB=1, out="scores"), out="p"), boxes

    model = open_model(make_model(both, shape=(1, 3, 8, 8)))
    assert model.classes == K
    assert any("the classes are output 'p' (not boxes)" in line for line in model.assumed)
